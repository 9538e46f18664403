"""The bodies of requests and responses by noun, with what the API document says of them."""
