"""A workload that uses py-spiffe as any Python program would.

Interop tests run it under different users against the socket in SPIFFE_ENDPOINT_SOCKET and read the JSON lines that it
prints: the same as those of the other clients' probes.
"""

import json
import logging
import signal
import sys
import threading
import warnings

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL
from spiffe import JwtSource, JwtSvid, SpiffeId, WorkloadApiClient, X509Source
from spiffetls import ListenOptions, ServerTlsMode, dial, listen
from spiffetls.tlsconfig.authorize import authorize_id

USAGE = "probe.py x509 | jwt AUDIENCE | watch | mtls-server ADDRESS PEER_ID | mtls-client ADDRESS PEER_ID"

# Seconds that one answer may take, connecting included.
PATIENCE = 15

saying = threading.Lock()


def main(args):
    # The library's own TLS module reads what the library has deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    logging.disable(logging.CRITICAL)
    match args:
        case ["x509"]:
            show_x509()
        case ["jwt", audience]:
            show_jwt(audience)
        case ["watch"]:
            watch()
        case ["mtls-server", address, peer]:
            serve_mtls(address, peer)
        case ["mtls-client", address, peer]:
            call_mtls(address, peer)
        case _:
            raise SystemExit(f"usage: {USAGE}")


def show_x509():
    """Asks once, so that a refusal is seen at once; then does what programs do and opens a source."""
    with WorkloadApiClient(default_timeout=PATIENCE) as client:
        answer = client.fetch_x509_context()
        with X509Source(client, timeout_in_seconds=PATIENCE) as source:
            picked = source.get_x509_context().default_svid
        line = describe_x509(answer)
        line["default"] = str(picked.spiffe_id)
        say(line)


def show_jwt(audience):
    with WorkloadApiClient(default_timeout=PATIENCE) as client:
        # Asked without a source first: a source would try again where this caller is refused for good.
        client.fetch_jwt_svid({audience})
        with JwtSource(client, timeout_in_seconds=PATIENCE) as source:
            svid = source.fetch_svid({audience})
            bundle = source.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
            foreign = f"{audience}-of-somebody-else"
            say(
                {
                    "event": "jwt",
                    "id": str(svid.spiffe_id),
                    "audience": sorted(svid.audience),
                    "validatedByApi": str(client.validate_jwt_svid(svid.token, audience).spiffe_id),
                    "validatedOffline": str(JwtSvid.parse_and_validate(svid.token, bundle, {audience}).spiffe_id),
                    "foreignAudienceByApi": fault_of(lambda: client.validate_jwt_svid(svid.token, foreign)),
                    "foreignAudienceOffline": fault_of(
                        lambda: JwtSvid.parse_and_validate(svid.token, bundle, {foreign})
                    ),
                    "alteredOffline": fault_of(
                        lambda: JwtSvid.parse_and_validate(altered(svid.token), bundle, {audience})
                    ),
                    "token": svid.token,
                }
            )


def watch():
    """Prints a line for each update of the open streams and for the end of each.

    Without the library's own retry, which would hide from the test that a stream broke.
    """
    client = WorkloadApiClient()
    client.stream_x509_contexts(
        lambda update: say(describe_x509(update)), lambda error: say_broken("x509", error), retry_connect=False
    )
    client.stream_jwt_bundles(
        lambda update: say(describe_jwt_bundles(update)), lambda error: say_broken("jwtBundles", error), retry_connect=False
    )
    wait_to_be_stopped()


def serve_mtls(address, peer):
    """Prints where it listens, then a line for each caller: who it was, or why it was turned away."""
    source = X509Source(timeout_in_seconds=PATIENCE)
    own = str(source.get_x509_context().default_svid.spiffe_id)
    options = ListenOptions(tls_mode=ServerTlsMode.MTLS, authorize_fn=authorize_id(SpiffeId(peer)))
    listener = listen(address, source, options)
    host, port = listener.getsockname()
    say({"event": "listening", "address": f"{host}:{port}", "own": own})
    threading.Thread(target=accept_all, args=(listener, own), daemon=True).start()
    wait_to_be_stopped()


def accept_all(listener, own):
    while True:
        connection, _ = listener.accept()
        try:
            connection.do_handshake()
            said = read_line(connection)
            certificate = connection.get_peer_certificate().to_cryptography()
            connection.sendall(f"{own} greets {id_of(certificate)}\n".encode())
            say(met(own, certificate, said))
            connection.shutdown()
        except (SSL.Error, OSError) as error:
            say({"event": "refused", "message": repr(error)})
        finally:
            connection.close()


def call_mtls(address, peer):
    with X509Source(timeout_in_seconds=PATIENCE) as source:
        own = str(source.get_x509_context().default_svid.spiffe_id)
        connection = dial(address, source, authorize_fn=authorize_id(SpiffeId(peer)))
        connection.sendall(f"{own} calls\n".encode())
        said = read_line(connection)
        say(met(own, connection.get_peer_certificate().to_cryptography(), said))
        connection.close()


def met(own, certificate, said):
    return {
        "event": "peer",
        "own": own,
        "peer": id_of(certificate),
        "peerSerial": str(certificate.serial_number),
        "said": said,
    }


def read_line(connection):
    received = b""
    while not received.endswith(b"\n"):
        received += connection.recv(4096)
    return received.decode().strip()


def id_of(certificate):
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)[0]


def describe_x509(update):
    return {
        "event": "x509",
        "identities": [
            {
                "id": str(svid.spiffe_id),
                "serial": str(svid.leaf.serial_number),
                "notAfter": svid.leaf.not_valid_after_utc.isoformat(),
            }
            for svid in update.x509_svids
        ],
        "default": str(update.default_svid.spiffe_id),
        "bundles": {
            bundle.trust_domain.name: "".join(
                authority.public_bytes(serialization.Encoding.PEM).decode() for authority in bundle.x509_authorities
            )
            for bundle in update.x509_bundle_set.bundles
        },
    }


def describe_jwt_bundles(update):
    return {
        "event": "jwtBundles",
        "bundles": {bundle.trust_domain.name: sorted(bundle.jwt_authorities) for bundle in update.bundles},
    }


def altered(token):
    """The token with another signature, in its first character."""
    signed, _, signature = token.rpartition(".")
    other = "B" if signature[0] == "A" else "A"
    return f"{signed}.{other}{signature[1:]}"


def fault_of(ask):
    try:
        ask()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def say_broken(stream, error):
    say({"event": "broken", "stream": stream, "code": code_of(error), "message": str(error)})


def code_of(error):
    """The gRPC code's name in gRPC's own spelling for Go, which all probes use."""
    found = error
    while found is not None:
        if isinstance(found, grpc.RpcError) and isinstance(found, grpc.Call):
            return camel(found.code().name)
        found = found.__cause__
    # The streams tell the code in their text alone.
    return next((camel(code.name) for code in grpc.StatusCode if str(code) in str(error)), "Unknown")


def camel(name):
    return "".join(word.capitalize() for word in name.split("_"))


def say(line):
    with saying:
        print(json.dumps(line), flush=True)


def wait_to_be_stopped():
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    stopped.wait()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Exception as failure:
        say({"event": "error", "code": code_of(failure), "message": f"{type(failure).__name__}: {failure}"})
        sys.exit(1)
