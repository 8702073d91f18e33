"""HTTP below the routes: connections, what holds for every request and answer, problem answers."""
