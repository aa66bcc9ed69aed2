#!/usr/bin/env python3
"""echoes.py - an auth service that repeats what it was sent in the error that it answers with

    echoes.py STATUS

Each POST gets that HTTP status, and {"error": the secret or token of the request}. Prints the port. It listens
on 127.0.0.1, and ends when it is killed, or after two minutes."""
import http.server
import json
import signal
import sys


class Echo(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        word = asked.get("client_secret") or asked.get("refresh_token")
        body = json.dumps({"success": False, "error": "not known: " + word}).encode()
        self.send_response(int(sys.argv[1]))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


signal.alarm(120)
server = http.server.HTTPServer(("127.0.0.1", 0), Echo)
print(server.server_address[1], flush=True)
server.serve_forever()
