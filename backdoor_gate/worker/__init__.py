"""The locked child process that handles tensors, and the strict channel it speaks over."""
