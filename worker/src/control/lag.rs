//! Keeps the log ends of the inputs known, for the lag, and what is waited for in mind.

use std::sync::Arc;
use std::time::Duration;

use crate::log::Log;
use crate::status::Status;

/// Between two questions.
const EVERY: Duration = Duration::from_secs(2);

/// Asks for ever.
pub(super) async fn watch(log: Arc<dyn Log>, status: Arc<Status>) {
    loop {
        tokio::time::sleep(EVERY).await;
        status.remind();
        let inputs: Vec<_> = status.active().flat_map(|task| task.inputs.clone()).collect();
        if inputs.is_empty() {
            continue;
        }
        let partitions: Vec<_> = inputs.iter().map(|input| input.partition.clone()).collect();
        match log.bounds(&partitions).await {
            Ok(bounds) => inputs.iter().zip(bounds).for_each(|(input, bounds)| input.end.set(bounds.end)),
            // Said elsewhere, by what needs the answer; a lag that isn't known is not shown.
            Err(_) => inputs.iter().for_each(|input| input.end.set(-1)),
        }
    }
}
