"""KMS and Private CA as moto imitates them, for the plugins that stand on them.

    python3 probe.py services

Starts moto's server in this process, says where, and answers commands until its input ends. Four things are put right in
which moto differs from what AWS documents:

* `Sign` hashes what is a digest already (`MessageType: DIGEST`); here the digest is signed as it is.
* `ScheduleKeyDeletion` fails where a key is named by its ARN.
* `ListAliases` leaves out when an alias was last updated.
* `IssueCertificate` by a template of subordinate CAs gives no CA certificate, and none heeds `Validity`.
"""

import base64
import datetime
import json
import re
import sys

import boto3
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from moto.acmpca import models as acmpca
from moto.acmpca.responses import ACMPCAResponse
from moto.kms import models as kms
from moto.kms import responses as kms_responses
from moto.server import ThreadedMotoServer

HASHES = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
SUBORDINATE = re.compile(r"^arn:aws:acm-pca:::template/SubordinateCACertificate_PathLen([0-3])/V1$")


def sign_digest(self) -> str:
    key_id = self._get_param("KeyId")
    digest = self._get_param("Message")
    algorithm = self._get_param("SigningAlgorithm")
    self._validate_key_id(key_id)
    if self._get_param("MessageType") != "DIGEST":
        return plain_sign(self)
    key = self.kms_backend.keys[self.kms_backend.any_id_to_key_id(key_id)]
    if key.key_state != "Enabled":
        raise kms_responses.ValidationException(f"{key.arn} is pending deletion or disabled.")
    if algorithm not in key.signing_algorithms:
        raise kms_responses.ValidationException(f"{algorithm} is no algorithm of {key.key_spec}")
    hashed = Prehashed(HASHES[algorithm[-3:]]())
    private = key.private_key.private_key
    if algorithm.startswith("ECDSA"):
        signature = private.sign(digest, ec.ECDSA(hashed))
    else:
        assert algorithm.startswith("RSASSA_PKCS1_V1_5"), algorithm
        signature = private.sign(digest, padding.PKCS1v15(), hashed)
    return json.dumps(
        {
            "KeyId": key.arn,
            "Signature": base64.b64encode(signature).decode(),
            "SigningAlgorithm": algorithm,
        }
    )


plain_sign = kms_responses.KmsResponse.sign
plain_list = kms_responses.KmsResponse.list_aliases
plain_set = kms_responses.KmsResponse._set_alias
plain_schedule = kms.KmsBackend.schedule_key_deletion
plain_extensions = acmpca.CertificateAuthority._x509_extensions
plain_issue = ACMPCAResponse.issue_certificate
plain_generate = acmpca.CertificateAuthority.generate_cert
updated: dict = {}
validity: dict = {}


def schedule_key_deletion(self, key_id, pending_window_in_days):
    return plain_schedule(self, self.any_id_to_key_id(key_id), pending_window_in_days)


def set_alias(self, update: bool = False) -> str:
    answer = plain_set(self, update)
    updated[self._get_param("AliasName")] = datetime.datetime.now(datetime.timezone.utc).timestamp()
    return answer


def list_aliases(self) -> str:
    answer = json.loads(plain_list(self))
    for alias in answer["Aliases"]:
        if alias["AliasName"] in updated:
            alias["LastUpdatedDate"] = updated[alias["AliasName"]]
    return json.dumps(answer)


def issue_certificate(self) -> str:
    validity.clear()
    validity.update(json.loads(self.body)["Validity"])
    return plain_issue(self)


def generate_cert(self, subject, public_key, extensions):
    if validity.get("Type") != "ABSOLUTE":
        return plain_generate(self, subject, public_key, extensions)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(self.issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime.now(datetime.timezone.utc))
        .not_valid_after(datetime.datetime.fromtimestamp(validity["Value"], datetime.timezone.utc))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    pem = builder.sign(self.key, hashes.SHA256())
    return pem.public_bytes(acmpca.serialization.Encoding.PEM)


def x509_extensions(self, csr, template_arn):
    extensions = plain_extensions(self, csr, template_arn)
    match = SUBORDINATE.match(template_arn or "")
    if match is None:
        return extensions
    usage = dict.fromkeys(
        ["content_commitment", "key_encipherment", "data_encipherment", "key_agreement"], False
    )
    usage |= {"encipher_only": False, "decipher_only": False}
    return [
        (x509.BasicConstraints(ca=True, path_length=int(match[1])), True),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False),
        (x509.SubjectKeyIdentifier.from_public_key(csr.public_key()), False),
        (x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage), True),
        *extensions,
    ]


class Services:
    def __init__(self) -> None:
        kms_responses.KmsResponse.sign = sign_digest
        kms_responses.KmsResponse._set_alias = set_alias
        kms.KmsBackend.schedule_key_deletion = schedule_key_deletion
        kms_responses.KmsResponse.list_aliases = list_aliases
        ACMPCAResponse.issue_certificate = issue_certificate
        acmpca.CertificateAuthority._x509_extensions = x509_extensions
        acmpca.CertificateAuthority.generate_cert = generate_cert
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        host, port = self.server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"

    def client(self, service: str):
        return boto3.client(
            service,
            region_name="eu-central-1",
            endpoint_url=self.endpoint,
            aws_access_key_id="operator",
            aws_secret_access_key="operator",
        )

    def keys(self, command: dict) -> dict:
        """Every key of the account, as its owner sees it."""
        client = self.client("kms")
        keys = [client.describe_key(KeyId=key["KeyId"])["KeyMetadata"] for key in client.list_keys()["Keys"]]
        return {
            "keys": [
                {
                    "arn": key["Arn"],
                    "state": key["KeyState"],
                    "description": key["Description"],
                    "tags": {
                        tag["TagKey"]: tag["TagValue"]
                        for tag in client.list_resource_tags(KeyId=key["KeyId"])["Tags"]
                    },
                    "policy": client.get_key_policy(KeyId=key["KeyId"], PolicyName="default")["Policy"],
                }
                for key in keys
            ],
            "aliases": {
                alias["AliasName"]: alias.get("TargetKeyId") for alias in client.list_aliases()["Aliases"]
            },
        }

    def disable(self, command: dict) -> dict:
        self.client("kms").disable_key(KeyId=command["key"])
        return {}

    def role(self, command: dict) -> dict:
        iam = self.client("iam")
        return {"role": iam.create_role(RoleName=command["name"], AssumeRolePolicyDocument="{}")["Role"]["Arn"]}

    def authority(self, command: dict) -> dict:
        """A root CA that is ready to sign."""
        client = self.client("acm-pca")
        arn = client.create_certificate_authority(
            CertificateAuthorityConfiguration={
                "KeyAlgorithm": "RSA_2048",
                "SigningAlgorithm": "SHA256WITHRSA",
                "Subject": {"Organization": "Example", "CommonName": command["name"]},
            },
            CertificateAuthorityType="ROOT",
        )["CertificateAuthorityArn"]
        csr = client.get_certificate_authority_csr(CertificateAuthorityArn=arn)["Csr"]
        issued = client.issue_certificate(
            CertificateAuthorityArn=arn,
            Csr=csr.encode(),
            SigningAlgorithm="SHA256WITHRSA",
            TemplateArn="arn:aws:acm-pca:::template/RootCACertificate/V1",
            Validity={"Type": "YEARS", "Value": 1},
        )["CertificateArn"]
        root = client.get_certificate(CertificateAuthorityArn=arn, CertificateArn=issued)["Certificate"]
        if command.get("active", True):
            client.import_certificate_authority_certificate(
                CertificateAuthorityArn=arn, Certificate=root.encode()
            )
        return {"arn": arn, "root": root}


def serve() -> None:
    services = Services()
    say({"endpoint": services.endpoint})
    for line in sys.stdin:
        command = json.loads(line)
        say(getattr(services, command["do"])(command))
    services.server.stop()


def say(answer: dict) -> None:
    print(json.dumps(answer, default=str), flush=True)
