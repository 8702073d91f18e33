"""Jobs: one upload on its way to a verdict, and the bounded table that holds them."""
