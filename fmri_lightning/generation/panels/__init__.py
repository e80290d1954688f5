"""Pictures drawn while an adapter or a generator trains; imported only where a configuration names them."""
