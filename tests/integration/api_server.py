"""A program: the API server of a node, as far as its readiness goes.

Arguments: name, certificate, key, file of its state. It listens at port 6443 of
every address, as API servers do, and answers with the status that the file holds.
"""

from __future__ import annotations

import socketserver
import ssl
import sys
from pathlib import Path

NAME, CERTIFICATE, KEY, STATE = sys.argv[1:]

CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
CONTEXT.load_cert_chain(CERTIFICATE, KEY)


class Answer(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        try:
            with CONTEXT.wrap_socket(self.request, server_side=True) as connection:
                connection.recv(4096)
                connection.sendall(f"HTTP/1.1 {Path(STATE).read_text()} x\r\n\r\n{NAME}".encode())
        except OSError:
            pass  # whoever asked has gone


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


Server(("0.0.0.0", 6443), Answer).serve_forever()
