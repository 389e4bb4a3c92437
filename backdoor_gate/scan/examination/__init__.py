"""What a worker does beside a scan: looks at its machine, at a candidate's file, at how it takes its images."""
