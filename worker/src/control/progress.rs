//! A line in the log of a terminal while stores are being restored.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use crate::rt;
use crate::status::Status;

/// Between two lines.
const EVERY: Duration = Duration::from_secs(5);

/// Tells whoever sits before the terminal, for ever; elsewhere `/state` and the metrics have it.
pub(super) async fn tell(status: Arc<Status>) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    loop {
        tokio::time::sleep(EVERY).await;
        if let Some(all) = status.restores(rt::now()) {
            tracing::info!("{}: {all}", status.app);
        }
    }
}
