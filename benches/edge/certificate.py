"""A certificate for the proxies, of the type that most sites have: ECDSA over P-256, signed by itself."""

import subprocess

HOST = "customdomain1.com"


class Certificate:
    """Two files, and both in one, as HAProxy wants them."""

    def __init__(self, directory):
        self.chain, self.key, self.both = (directory / name for name in ("tls.pem", "tls.key", "both.pem"))
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
             "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}", "-out", self.chain, "-keyout", self.key],
            check=True, capture_output=True,
        )
        self.both.write_text(self.chain.read_text() + self.key.read_text())
