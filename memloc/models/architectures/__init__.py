"""The architectures, a file each: the file's name is the model's in a configuration, its `Architecture` the network."""
