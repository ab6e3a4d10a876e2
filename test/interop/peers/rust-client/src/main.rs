//! A workload that uses the `spiffe` and `spiffe-rustls` crates as any Rust program would. Interop tests run it under
//! different users against the socket in SPIFFE_ENDPOINT_SOCKET and read the JSON lines that it prints: the same as
//! those of the other clients' probes.

mod mtls;
mod show;
mod watch;

use serde_json::{Value, json};
use spiffe::transport::TransportError;
use spiffe::workload_api::WorkloadApiError;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

pub type Fault = Box<dyn Error + Send + Sync>;

const USAGE: &str = "usage: spiffe-probe x509 | jwt AUDIENCE | watch | mtls-server ADDRESS PEER_ID | mtls-client ADDRESS PEER_ID";

/// How long a command that answers once may take, connecting included.
const PATIENCE: Duration = Duration::from_secs(15);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["x509"] => once(show::x509()).await,
        ["jwt", audience] => once(show::jwt(audience)).await,
        ["watch"] => until_stopped(watch::watch()).await,
        ["mtls-server", address, peer] => until_stopped(mtls::serve(address, peer)).await,
        ["mtls-client", address, peer] => once(mtls::call(address, peer)).await,
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            say(&json!({ "event": "error", "code": code_of(fault.as_ref()), "message": text_of(fault.as_ref()) }));
            ExitCode::FAILURE
        }
    }
}

async fn once(work: impl Future<Output = Result<(), Fault>>) -> Result<(), Fault> {
    tokio::time::timeout(PATIENCE, work).await?
}

async fn until_stopped(work: impl Future<Output = Result<(), Fault>>) -> Result<(), Fault> {
    let mut told = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        outcome = work => outcome,
        _ = told.recv() => Ok(()),
    }
}

/// Prints one JSON line; standard output gives every line out at once.
pub fn say(line: &Value) {
    println!("{line}");
}

/// The gRPC code's name in the spelling that all probes use.
pub fn code_of(fault: &(dyn Error + 'static)) -> String {
    let mut found = Some(fault);
    while let Some(error) = found {
        match error.downcast_ref::<WorkloadApiError>() {
            Some(WorkloadApiError::NoIdentityIssued | WorkloadApiError::PermissionDenied(_)) => {
                return "PermissionDenied".into();
            }
            Some(WorkloadApiError::Transport(TransportError::Status(status))) => return format!("{:?}", status.code()),
            _ => found = error.source(),
        }
    }
    "Unknown".into()
}

/// What went wrong with what was behind it.
pub fn text_of(fault: &(dyn Error + 'static)) -> String {
    let mut text = fault.to_string();
    let mut behind = fault.source();
    while let Some(error) = behind {
        text = format!("{text}: {error}");
        behind = error.source();
    }
    text
}
