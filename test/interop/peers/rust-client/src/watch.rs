use crate::show::{describe_jwt_bundles, describe_x509};
use crate::{Fault, code_of, say, text_of};
use futures::StreamExt as _;
use serde_json::json;
use spiffe::WorkloadApiClient;

/// Prints a line for each update of the open streams and for the end of each. The client's streams do not open
/// themselves again, so no break stays hidden.
pub async fn watch() -> Result<(), Fault> {
    let client = WorkloadApiClient::connect_env().await?;
    let x509 = async {
        match client.stream_x509_contexts().await {
            Ok(mut updates) => {
                while let Some(update) = updates.next().await {
                    match update {
                        Ok(update) => say(&describe_x509(&update)?),
                        Err(fault) => say_broken("x509", &fault),
                    }
                }
            }
            Err(fault) => say_broken("x509", &fault),
        }
        Ok::<(), Fault>(())
    };
    let jwt_bundles = async {
        match client.stream_jwt_bundles().await {
            Ok(mut updates) => {
                while let Some(update) = updates.next().await {
                    match update {
                        Ok(update) => say(&describe_jwt_bundles(&update)),
                        Err(fault) => say_broken("jwtBundles", &fault),
                    }
                }
            }
            Err(fault) => say_broken("jwtBundles", &fault),
        }
        Ok::<(), Fault>(())
    };
    tokio::try_join!(x509, jwt_bundles)?;
    // Both streams have ended; the test decides when this program does.
    std::future::pending().await
}

fn say_broken(stream: &str, fault: &(dyn std::error::Error + 'static)) {
    say(&json!({ "event": "broken", "stream": stream, "code": code_of(fault), "message": text_of(fault) }));
}
