"""Sending mail, and a mail server that is small enough for an example."""

from __future__ import annotations

import os
import smtplib
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from types import TracebackType

LONGEST_LINE = 2000
MAIL_SECONDS = 10


def send(message: EmailMessage) -> None:
    """Send a message to the shop's mail server; raises OSError if the server does not accept it."""
    host, _, port = os.environ.get("SHOP_MAIL", "127.0.0.1:2525").partition(":")
    with smtplib.SMTP(host, int(port), timeout=MAIL_SECONDS) as server:
        server.send_message(message)


@dataclass(frozen=True, slots=True)
class Received:
    """A message as the server received it: sender, recipients and text."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage


class MailServer(socketserver.ThreadingTCPServer):
    """An SMTP server (RFC 5321) on a free port that keeps the messages that it receives. It
    accepts connections inside its ``with`` block, and refuses them before."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Conversation, bind_and_activate=False)
        # Bound but not listening: the port is reserved, and connections are refused.
        self.server_bind()
        self.received: list[Received] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    @property
    def address(self) -> str:
        """Its host and port, in the form of SHOP_MAIL."""
        host, port = self.server_address[:2]
        return f"{host!s}:{port}"

    def __enter__(self) -> MailServer:
        self.server_activate()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()
        self.server_close()


@dataclass(slots=True)
class Envelope:
    """What is known of a message before its text arrives."""

    sender: str | None = None
    recipients: list[str] = field(default_factory=list)


class Conversation(socketserver.StreamRequestHandler):
    """One client's connection; a method answers each command."""

    server: MailServer
    timeout = MAIL_SECONDS

    def setup(self) -> None:
        super().setup()
        self.envelope = Envelope()
        self.over = False

    def handle(self) -> None:
        """Answer until the client sends QUIT or disconnects."""
        self.answer("220 the shop's mail server")
        while not self.over:
            line = self.rfile.readline(LONGEST_LINE)
            if not line:
                return
            word, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
            self.verb(word.upper())(rest)

    def verb(self, word: str) -> Callable[[str], None]:
        """The method that answers a command."""
        verbs: dict[str, Callable[[str], None]] = {
            "HELO": self.hello,
            "EHLO": self.hello,
            "MAIL": self.mail_from,
            "RCPT": self.rcpt_to,
            "DATA": self.text,
            "RSET": self.reset,
            "NOOP": partial(self.answer_to, "250 OK"),
            "QUIT": self.quit,
        }
        return verbs.get(word, partial(self.answer_to, "502 Command not implemented"))

    def hello(self, client: str) -> None:
        self.envelope = Envelope()
        self.answer("250 hello")

    def mail_from(self, argument: str) -> None:
        self.envelope = Envelope(sender=_address(argument))
        self.answer("250 OK")

    def rcpt_to(self, argument: str) -> None:
        if self.envelope.sender is None:
            return self.answer("503 MAIL first")
        self.envelope.recipients.append(_address(argument))
        return self.answer("250 OK")

    def text(self, argument: str) -> None:
        sender, recipients = self.envelope.sender, tuple(self.envelope.recipients)
        if sender is None or not recipients:
            return self.answer("503 RCPT first")
        self.answer("354 End with a line that is one dot")
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                # The client has disconnected; an incomplete message is dropped.
                self.over = True
                return None
            # The client puts an extra dot before each line that begins with one.
            lines.append(line[1:] if line.startswith(b".") else line)
        message = message_from_bytes(b"".join(lines), policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.server.received.append(Received(sender, recipients, message))
        self.envelope = Envelope()
        return self.answer("250 Taken")

    def reset(self, argument: str) -> None:
        self.envelope = Envelope()
        self.answer("250 OK")

    def quit(self, argument: str) -> None:
        self.over = True
        self.answer("221 Bye")

    def answer_to(self, line: str, argument: str) -> None:
        self.answer(line)

    def answer(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


def _address(argument: str) -> str:
    """The address in ``FROM:<ada@example.org> SIZE=100``."""
    return argument.partition("<")[2].partition(">")[0]
