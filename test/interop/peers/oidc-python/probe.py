"""A relying party on PyJWT: knows an issuer's URL, an audience and a CA, and learns everything else by discovery.

    python3 probe.py ISSUER AUDIENCE CA_FILE

Reads one token a line and answers each with a line of JSON. It keeps running, so that its cache of keys is warm.
"""

import json
import ssl
import sys
import urllib.request

import jwt


def main(issuer: str, audience: str, ca_file: str) -> None:
    context = ssl.create_default_context(cafile=ca_file)
    url = issuer.rstrip("/") + "/.well-known/openid-configuration"
    with urllib.request.urlopen(url, context=context, timeout=15) as answer:
        metadata = json.load(answer)
    if metadata["issuer"] != issuer:
        raise SystemExit(f"the issuer calls itself {metadata['issuer']}")
    # By default PyJWT fetches keys that it misses no sooner than half a minute after it last fetched any; here they are
    # replaced sooner than that.
    keys = jwt.PyJWKClient(
        metadata["jwks_uri"], ssl_context=context, timeout=15, cooldown_duration=1
    )
    say({"ready": True})
    for line in sys.stdin:
        token = line.strip()
        try:
            key = keys.get_signing_key_from_jwt(token)
            claims = jwt.decode(
                token,
                key,
                algorithms=metadata["id_token_signing_alg_values_supported"],
                audience=audience,
                issuer=metadata["issuer"],
                options={"require": ["exp", "iat", "iss", "sub", "aud"]},
            )
            say({"sub": claims["sub"], "alg": jwt.get_unverified_header(token)["alg"]})
        except jwt.PyJWTError as error:
            say({"error": f"{type(error).__name__}: {error}"})


def say(answer: dict) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
