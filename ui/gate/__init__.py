"""What stands between the network and the app: hosts, origins, sessions, headers, uploads."""
