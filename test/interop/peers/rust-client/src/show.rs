use crate::{Fault, say, text_of};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};
use spiffe::workload_api::x509_context::X509Context;
use spiffe::{JwtBundleSet, JwtSource, JwtSvid, WorkloadApiClient, X509Source};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Asks once, so that a refusal is seen at once; then does what programs do and opens a source.
pub async fn x509() -> Result<(), Fault> {
    let client = WorkloadApiClient::connect_env().await?;
    let answer = client.fetch_x509_context().await?;
    let source = X509Source::new().await?;
    let picked = source.svid()?.spiffe_id().to_string();
    source.shutdown().await;
    let mut line = describe_x509(&answer)?;
    line["default"] = picked.into();
    say(&line);
    Ok(())
}

pub async fn jwt(audience: &str) -> Result<(), Fault> {
    let client = WorkloadApiClient::connect_env().await?;
    // Asked without a source first: a source would try again where this caller is refused for good.
    client.fetch_jwt_svid([audience], None).await?;
    let source = JwtSource::new().await?;
    let svid = source.fetch_jwt_svid([audience]).await?;
    let token = svid.token();
    let foreign = format!("{audience}-of-somebody-else");
    say(&json!({
        "event": "jwt",
        "id": svid.spiffe_id().to_string(),
        "audience": svid.audience(),
        "validatedByApi": client.validate_jwt_token(audience, token).await?.spiffe_id().to_string(),
        "validatedOffline": JwtSvid::parse_and_validate(token, &source, &[audience])?.spiffe_id().to_string(),
        "foreignAudienceByApi": fault_in(client.validate_jwt_token(&foreign, token).await),
        "foreignAudienceOffline": fault_in(JwtSvid::parse_and_validate(token, &source, &[&foreign])),
        "alteredOffline": fault_in(JwtSvid::parse_and_validate(&altered(token), &source, &[audience])),
        "token": token,
    }));
    source.shutdown().await;
    Ok(())
}

pub fn describe_x509(update: &X509Context) -> Result<Value, Fault> {
    let mut identities = Vec::new();
    for svid in update.svids() {
        let leaf = X509Certificate::from_der(svid.leaf().as_bytes())?.1;
        identities.push(json!({
            "id": svid.spiffe_id().to_string(),
            "hint": svid.hint(),
            "serial": serial_of(&leaf),
            "notAfter": leaf.validity().not_after.to_string(),
        }));
    }
    let bundles: Map<String, Value> = update
        .bundle_set()
        .iter()
        .map(|(trust_domain, bundle)| {
            let authorities: String = bundle.authorities().iter().map(|authority| pem_of(authority.as_bytes())).collect();
            (trust_domain.to_string(), authorities.into())
        })
        .collect();
    Ok(json!({
        "event": "x509",
        "identities": identities,
        "default": update.default_svid().map(|svid| svid.spiffe_id().to_string()),
        "bundles": bundles,
    }))
}

pub fn describe_jwt_bundles(update: &JwtBundleSet) -> Value {
    let bundles: Map<String, Value> = update
        .iter()
        .map(|(trust_domain, bundle)| {
            let mut key_ids: Vec<&str> = bundle.jwt_authorities().map(|authority| authority.key_id()).collect();
            key_ids.sort_unstable();
            (trust_domain.to_string(), key_ids.into())
        })
        .collect();
    json!({ "event": "jwtBundles", "bundles": bundles })
}

/// The serial number in decimal, as the other probes write it.
pub fn serial_of(certificate: &X509Certificate<'_>) -> String {
    certificate.tbs_certificate.serial.to_string()
}

fn pem_of(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64_STANDARD.encode(der))
}

/// The token with another signature, in its first character.
fn altered(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap_or((token, "A"));
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{signed}.{other}{}", &signature[1..])
}

fn fault_in<T, E: std::error::Error + 'static>(outcome: Result<T, E>) -> String {
    outcome.err().map(|fault| text_of(&fault)).unwrap_or_default()
}
