"""Values of the domain: resources and their algebra, attributes, ids, states."""
