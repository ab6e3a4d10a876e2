"""A CI job on requests-oauth2client, and a resource server on Authlib. Both know an issuer's URL and a CA.

    python3 probe.py ISSUER CA_FILE

Reads one command a line and answers each with a line of JSON. Authlib speaks no DPoP, so the resource server has access
tokens judged by Authlib (RFC 9068) and proofs by requests-oauth2client (RFC 9449), and compares their keys itself.
"""

import base64
import hashlib
import json
import sys
import time

import jwskate
import requests
from authlib.oauth2.rfc6750 import InvalidTokenError
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from requests_oauth2client import (
    BearerToken,
    DPoPKey,
    OAuth2Client,
    OAuth2Error,
    oauth2_discovery_document_url,
    validate_dpop_proof,
)
from requests_oauth2client.dpop import InvalidDPoPProof
from token_status_list import BitArray

JWT = "urn:ietf:params:oauth:token-type:jwt"
JWT_SPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
ALGORITHMS = ["ES256", "ES384", "RS256"]


class NoSecret(requests.auth.AuthBase):
    """A client that shows what it has in the form alone."""

    def __call__(self, request):
        return request


class Job:
    def __init__(self, issuer: str, ca_file: str) -> None:
        self.issuer = issuer
        self.web = requests.Session()
        # A variable that names other authorities would win over these.
        self.web.trust_env = False
        self.web.verify = ca_file
        found = self.web.get(oauth2_discovery_document_url(issuer), timeout=15)
        found.raise_for_status()
        self.client = OAuth2Client.from_discovery_document(
            found.json(),
            issuer=issuer,
            auth=NoSecret(),
            session=self.web,
        )
        self.key = DPoPKey.generate("ES256")
        self.tokens: dict = {}

    def open(self, command: dict) -> dict:
        """Shows a platform's token; the library comes back with the server's nonce by itself."""
        key = DPoPKey.generate("ES256") if command.get("otherKey") else self.key
        token = self.client.token_exchange(
            subject_token=command["token"],
            subject_token_type=JWT,
            audience=self.issuer + "/v1/task",
            dpop=True,
            dpop_key=key,
        )
        self.tokens["task"] = token
        return described(token)

    def exchange(self, command: dict) -> dict:
        token = self.client.token_exchange(
            subject_token=command["token"],
            subject_token_type=JWT,
            audience=command["audience"],
            dpop=True,
            dpop_key=self.key,
        )
        self.tokens["api"] = token
        return described(token)

    def call(self, command: dict) -> dict:
        """Calls the task API with the token of the task."""
        token = self.tokens["task"]
        if command.get("asBearer"):
            token = BearerToken(token.access_token)
        answer = self.web.request(
            command["method"],
            self.issuer + "/v1/task" + command.get("path", ""),
            json=command.get("body"),
            auth=token,
            timeout=15,
        )
        return {
            "status": answer.status_code,
            "body": answer.json(),
            "challenge": answer.headers.get("WWW-Authenticate"),
        }

    def introspect(self, command: dict) -> dict:
        return self.client.introspect_token(command["token"], **self.assertion(command))

    def revoke(self, command: dict) -> dict:
        done = self.client.revoke_token(command["token"], **self.assertion(command))
        return {"revoked": done}

    def assertion(self, command: dict) -> dict:
        return {
            "client_assertion": command["assertion"],
            "client_assertion_type": JWT_SPIFFE,
        }

    def request(self, command: dict) -> dict:
        """Makes a request with the bound token, without sending it, and has the resource server judge it."""
        token = self.tokens["api"]
        method, url = command["method"], command["url"]
        made = requests.Request(method, url, auth=token).prepare()
        headers = dict(made.headers)
        spoil = command.get("spoil")
        if spoil == "bearer":
            headers["Authorization"] = "Bearer " + token.access_token
        elif spoil == "key":
            headers["DPoP"] = str(
                DPoPKey.generate("ES256").proof("GET", url, ath=hash_of(token.access_token))
            )
        elif spoil == "method":
            method = "POST"
        elif spoil == "url":
            url = url + "/elsewhere"
        elif spoil == "hash":
            headers["DPoP"] = str(self.key.proof(method, url, ath=hash_of("another")))
        elif spoil == "signature":
            headers["Authorization"] = "DPoP " + flipped(token.access_token)
        return ResourceServer(self, command["audience"]).judge(method, url, headers)

    def status(self, command: dict) -> dict:
        """Looks a token up in the list that it names, as the draft's validation rules say."""
        claims = jwt.decode(command["token"], self.keys(), algorithms=ALGORITHMS).claims
        place = claims["status"]["status_list"]
        answer = self.web.get(
            place["uri"], headers={"Accept": "application/statuslist+jwt"}, timeout=15
        )
        answer.raise_for_status()
        found = jwt.decode(answer.text, self.keys(), algorithms=ALGORITHMS)
        assert found.header["typ"] == "statuslist+jwt", found.header
        assert found.claims["sub"] == place["uri"], found.claims["sub"]
        assert found.claims["exp"] > time.time() >= found.claims["iat"]
        array = BitArray.load(found.claims["status_list"])
        return {
            "status": array[place["idx"]],
            "size": len(array),
            "ttl": found.claims["ttl"],
            "type": answer.headers["Content-Type"],
        }

    def keys(self) -> KeySet:
        return KeySet.import_key_set(self.web.get(self.client.jwks_uri, timeout=15).json())


class ResourceServer:
    def __init__(self, job: Job, audience: str) -> None:
        class Validator(JWTBearerTokenValidator):
            def get_jwks(self):
                return job.web.get(job.client.jwks_uri, timeout=15).json()

        self.validator = Validator(issuer=job.issuer, resource_server=audience)

    def judge(self, method: str, url: str, headers: dict) -> dict:
        scheme, _, text = headers.get("Authorization", "").partition(" ")
        try:
            token = self.validator.authenticate_token(text)
            self.validator.validate_token(token, None, None)
        except (InvalidTokenError, JoseError) as error:
            return {"refused": f"token: {error}"}
        bound = token.get("cnf", {}).get("jkt")
        if scheme != "DPoP" or bound is None:
            return {"refused": "scheme: a bound token comes by DPoP"}
        try:
            proof = validate_dpop_proof(
                headers.get("DPoP", ""),
                htm=method,
                htu=url,
                ath=hash_of(text),
                algs=ALGORITHMS,
            )
        except InvalidDPoPProof as error:
            return {"refused": f"proof: {error}"}
        if jwskate.Jwk(proof.headers["jwk"]).thumbprint() != bound:
            return {"refused": "key: the token is bound to another"}
        return {"accepted": dict(token)}


def described(token) -> dict:
    header, payload, _ = token.access_token.split(".")
    return {
        "token": token.access_token,
        "tokenType": token.token_type,
        "expiresIn": token.expires_in,
        "scope": token.scope,
        "header": json.loads(decoded(header)),
        "claims": json.loads(decoded(payload)),
        "more": token.kwargs,
    }


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def hash_of(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def flipped(token: str) -> str:
    head, _, signature = token.rpartition(".")
    octets = bytearray(decoded(signature))
    octets[len(octets) // 2] ^= 1
    return head + "." + base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def main(issuer: str, ca_file: str) -> None:
    job = Job(issuer, ca_file)
    say({"ready": True, "key": job.key.dpop_jkt})
    for line in sys.stdin:
        command = json.loads(line)
        try:
            say(getattr(job, command["do"])(command))
        except OAuth2Error as error:
            name = getattr(error, "error", type(error).__name__)
            say({"error": name, "description": getattr(error, "description", None)})
        except Exception as error:  # noqa: BLE001
            say({"error": type(error).__name__, "description": str(error)})


def say(answer: dict) -> None:
    print(json.dumps(answer, default=str), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
