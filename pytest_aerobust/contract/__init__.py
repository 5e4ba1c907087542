"""All that a mark can say, one file an argument; nothing here needs torch."""
