"""Who may ask: API keys, sessions of the web page, rate limits, origins."""
