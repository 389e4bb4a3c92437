"""A zoo of networks of known state, clean and backdoored: attacks, networks, recipes and the training of them."""
