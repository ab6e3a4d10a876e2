"""AWS as moto imitates it, for a workload that has nothing but a JWT-SVID.

    python3 probe.py ISSUER CA_FILE
    python3 probe.py services           (see services.py)

Starts moto's server in this process, registers the issuer as an OIDC provider with the keys' audience, and a role that
trusts one exact `sub`. Then reads one command a line and answers each with a line of JSON. moto takes any token and
verifies no signature, so `verify` does that first: PyJWT with the keys that it finds by discovery, and the conditions of
the role's trust policy, as AWS has them for an issuer of this kind.
"""

import json
import ssl
import sys
import urllib.request

import boto3
import jwt
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

import services

AUDIENCE = "sts.amazonaws.com"
# What IAM says of itself in the documentation: RS and ES, and no other.
ALGORITHMS = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"]


class Cloud:
    def __init__(self, issuer: str, ca_file: str) -> None:
        self.issuer = issuer
        context = ssl.create_default_context(cafile=ca_file)
        url = issuer + "/.well-known/openid-configuration"
        with urllib.request.urlopen(url, context=context, timeout=15) as answer:
            self.metadata = json.load(answer)
        assert self.metadata["issuer"] == issuer, self.metadata["issuer"]
        self.keys = jwt.PyJWKClient(
            self.metadata["jwks_uri"], ssl_context=context, timeout=15, cooldown_duration=1
        )
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        host, port = self.server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        self.subjects: dict = {}

    def client(self, service: str, **settings):
        return boto3.client(service, region_name="eu-central-1", endpoint_url=self.endpoint, **settings)

    def trust(self, command: dict) -> dict:
        """Registers the issuer once, and a role that one subject may assume."""
        iam = self.client("iam", aws_access_key_id="operator", aws_secret_access_key="operator")
        provider = self.issuer.removeprefix("https://")
        known = iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
        if known:
            arn = known[0]["Arn"]
        else:
            arn = iam.create_open_id_connect_provider(
                Url=self.issuer, ClientIDList=[AUDIENCE], ThumbprintList=["0" * 40]
            )["OpenIDConnectProviderArn"]
        self.subjects[command["role"]] = command["sub"]
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Federated": arn},
                    "Action": "sts:AssumeRoleWithWebIdentity",
                    "Condition": {
                        "StringEquals": {
                            f"{provider}:aud": AUDIENCE,
                            f"{provider}:sub": command["sub"],
                        }
                    },
                }
            ],
        }
        role = iam.create_role(
            RoleName=command["role"], AssumeRolePolicyDocument=json.dumps(policy)
        )["Role"]
        found = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
        return {"provider": arn, "url": found["Url"], "clients": found["ClientIDList"], "role": role["Arn"]}

    def verify(self, command: dict) -> dict:
        """What AWS does before it gives anything: signature, issuer, audience, time, and the trust policy."""
        token = command["token"]
        assert len(token) <= 20_000
        claims = jwt.decode(
            token,
            self.keys.get_signing_key_from_jwt(token),
            algorithms=ALGORITHMS,
            audience=AUDIENCE,
            issuer=self.issuer,
            options={"require": ["iss", "sub", "aud", "iat", "exp"]},
        )
        if claims["sub"] != self.subjects[command["role"]]:
            return {"error": "AccessDenied: sub"}
        return {"claims": claims, "alg": jwt.get_unverified_header(token)["alg"]}

    def assume(self, command: dict) -> dict:
        verified = self.verify(command)
        if "error" in verified:
            return verified
        sts = self.client("sts", config=Config(signature_version=UNSIGNED))
        answer = sts.assume_role_with_web_identity(
            RoleArn=command["roleArn"],
            RoleSessionName="task",
            WebIdentityToken=command["token"],
            DurationSeconds=900,
        )
        credentials = answer["Credentials"]
        there = self.client(
            "sts",
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=credentials["SessionToken"],
        ).get_caller_identity()
        return {**verified, "arn": there["Arn"]}


def main(issuer: str, ca_file: str) -> None:
    cloud = Cloud(issuer, ca_file)
    say({"ready": True})
    for line in sys.stdin:
        command = json.loads(line)
        try:
            say(getattr(cloud, command["do"])(command))
        except (jwt.PyJWTError, ClientError) as error:
            say({"error": f"{type(error).__name__}: {error}"})
    cloud.server.stop()


def say(answer: dict) -> None:
    print(json.dumps(answer, default=str), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["services"]:
        services.serve()
    else:
        main(*sys.argv[1:])
