"""The HTTP face: thin routes over the services, with their request and response models and problems."""
