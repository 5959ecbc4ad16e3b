"""One file per resource: its schemas, then its handlers. `api.routing.collect` finds them."""
