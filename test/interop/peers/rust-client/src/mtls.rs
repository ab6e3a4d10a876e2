use crate::show::serial_of;
use crate::{Fault, PATIENCE, say, text_of};
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use spiffe::X509Source;
use spiffe::cert::spiffe_id_from_der;
use spiffe_rustls::{authorizer, mtls_client, mtls_server};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Prints where it listens, then a line for each caller: who it was, or why it was turned away.
pub async fn serve(address: &str, peer: &str) -> Result<(), Fault> {
    let source = tokio::time::timeout(PATIENCE, X509Source::new()).await??;
    let own = source.svid()?.spiffe_id().to_string();
    let config = mtls_server(source).authorize(authorizer::exact([peer])?).build()?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(address).await?;
    say(&json!({ "event": "listening", "address": listener.local_addr()?.to_string(), "own": own }));
    loop {
        let (connection, _) = listener.accept().await?;
        match tokio::time::timeout(PATIENCE, answer(&acceptor, connection, &own)).await? {
            Ok(line) => say(&line),
            Err(fault) => say(&json!({ "event": "refused", "message": text_of(fault.as_ref()) })),
        }
    }
}

/// Greets one caller by both names.
async fn answer(acceptor: &TlsAcceptor, connection: TcpStream, own: &str) -> Result<Value, Fault> {
    let mut secured = acceptor.accept(connection).await?;
    let said = read_line(&mut secured).await?;
    let line = met(own, secured.get_ref().1.peer_certificates(), &said)?;
    let greeting = format!("{own} greets {}\n", line["peer"].as_str().unwrap_or_default());
    secured.write_all(greeting.as_bytes()).await?;
    secured.shutdown().await?;
    Ok(line)
}

pub async fn call(address: &str, peer: &str) -> Result<(), Fault> {
    let source = X509Source::new().await?;
    let own = source.svid()?.spiffe_id().to_string();
    let config = mtls_client(source.clone()).authorize(authorizer::exact([peer])?).build()?;
    let connection = TcpStream::connect(address).await?;
    // rustls wants a name; the peer is judged by its SPIFFE ID.
    let name = ServerName::try_from("workload.example.org")?;
    let mut secured = TlsConnector::from(Arc::new(config)).connect(name, connection).await?;
    secured.write_all(format!("{own} calls\n").as_bytes()).await?;
    let said = read_line(&mut secured).await?;
    say(&met(&own, secured.get_ref().1.peer_certificates(), &said)?);
    source.shutdown().await;
    Ok(())
}

fn met(own: &str, shown: Option<&[CertificateDer<'_>]>, said: &str) -> Result<Value, Fault> {
    let leaf = shown.and_then(<[_]>::first).ok_or("the peer showed no certificate")?;
    Ok(json!({
        "event": "peer",
        "own": own,
        "peer": spiffe_id_from_der(leaf)?.to_string(),
        "peerSerial": serial_of(&X509Certificate::from_der(leaf)?.1),
        "said": said,
    }))
}

async fn read_line(connection: &mut (impl AsyncRead + Unpin)) -> Result<String, Fault> {
    let mut line = String::new();
    BufReader::new(connection).read_line(&mut line).await?;
    Ok(line.trim_end().to_owned())
}
