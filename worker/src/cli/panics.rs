//! What the last panic said, so that a process which ends by one can say it where Kubernetes looks.

use std::panic;
use std::sync::Mutex;

use super::{ExitReason, Refusal};

static LAST: Mutex<Option<String>> = Mutex::new(None);

/// From now on. The message still stands on stderr, as without this.
pub(super) fn remember() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        // A lock that a panic has poisoned is no reason for a second one.
        *LAST.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(panic.to_string());
        before(panic);
    }));
}

/// A refusal with what the panic said that led to it.
pub(super) fn explain(refusal: Refusal) -> Refusal {
    let last = LAST.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
    with_panic(refusal, last)
}

fn with_panic(refusal: Refusal, panic: Option<String>) -> Refusal {
    match panic {
        Some(panic) if refusal.reason == ExitReason::Panicked => {
            let sentence = format!("{}: {}", refusal.sentence, panic.replace('\n', " "));
            Refusal { sentence, ..refusal }
        }
        _ => refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_of_ours_is_told_with_its_panic_and_nothing_else_is() {
        let end =
            |reason| with_panic(Refusal::new(reason, "the control thread panicked"), Some("panicked at x.rs:1:2:\nwhy".into()));
        assert_eq!(end(ExitReason::Panicked).sentence, "the control thread panicked: panicked at x.rs:1:2: why");
        assert_eq!(end(ExitReason::AgentFailed).sentence, "the control thread panicked");
    }
}
