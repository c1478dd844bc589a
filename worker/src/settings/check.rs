//! Settings that parse but don't fit each other, or this build.

use std::time::Duration;

use super::error::SettingsError;
use super::kind::{Broker, Store};
#[cfg(feature = "kafka")]
use super::table::PASSTHROUGH;
use super::table::{Resolved, Setting};
#[cfg(feature = "kafka")]
use crate::group::Lag;

/// What was compiled in.
#[derive(Clone, Copy)]
pub(super) struct Features {
    pub kafka: bool,
    pub rocksdb: bool,
}

impl Features {
    pub const COMPILED: Self = Self { kafka: cfg!(feature = "kafka"), rocksdb: cfg!(feature = "rocksdb") };
}

/// Kafka's protocol has timeouts in milliseconds of 32 bits.
const LONGEST_IN_PROTOCOL: Duration = Duration::from_millis(i32::MAX as u64);

pub(super) fn all(settings: &Resolved, features: Features) -> Result<(), SettingsError> {
    features_are_compiled(settings, features)?;
    #[cfg(feature = "kafka")]
    security_is_understood(settings)?;
    let refuse = |setting: &str, why: &str| {
        let (value, origin) = Setting::named(setting).shown(settings);
        Err(SettingsError::new(setting, format!("setting `{setting}`: {value} ({}) {why}", origin.of(setting))))
    };
    if settings.session_timeout < Duration::from_millis(500) {
        return refuse("session-timeout", "is too short: with less than 500ms a busy worker is taken for a dead one");
    }
    if settings.session_timeout > LONGEST_IN_PROTOCOL {
        return refuse("session-timeout", "is longer than Kafka's protocol can say: at most 596h");
    }
    if settings.rebalance_timeout > LONGEST_IN_PROTOCOL {
        return refuse("rebalance-timeout", "is longer than Kafka's protocol can say: at most 596h");
    }
    if settings.revoke_timeout >= settings.rebalance_timeout {
        return refuse("revoke-timeout", "must be shorter than `rebalance-timeout`, or the group goes on without this worker");
    }
    // The group gives up on a silent worker after the shorter of the two, and the worker believes in its tasks for a whole session.
    if settings.rebalance_timeout < settings.session_timeout {
        return refuse(
            "rebalance-timeout",
            "must not be shorter than `session-timeout`, or a worker that stood still could write over its heir",
        );
    }
    if settings.commit_interval < Duration::from_millis(1) {
        return refuse("commit-interval", "is too short: at least 1ms");
    }
    #[cfg(feature = "kafka")]
    if settings.recovery_lag > Lag::MOST {
        let why = format!("is more than workers can tell each other: from 1 to {}", Lag::MOST);
        return refuse("recovery-lag", &why);
    }
    Ok(())
}

/// Whether both of our clients can do what the properties of TLS and SASL say.
#[cfg(feature = "kafka")]
fn security_is_understood(settings: &Resolved) -> Result<(), SettingsError> {
    let Err(invalid) = faust_wire::Security::parse(settings.kafka.iter()) else { return Ok(()) };
    let place = settings.origin_of_property(&invalid.property).map(|origin| format!(" ({})", origin.of(PASSTHROUGH.name)));
    let sentence = format!("setting `kafka`: the client's property {invalid}{}", place.unwrap_or_default());
    Err(SettingsError::new(PASSTHROUGH.name, sentence))
}

fn features_are_compiled(settings: &Resolved, features: Features) -> Result<(), SettingsError> {
    if !features.kafka && settings.broker != Broker::Memory {
        let (broker, origin) = Setting::named("broker").shown(settings);
        let sentence = format!(
            "setting `broker`: {broker} ({}) needs Kafka, which this build lacks; build it with the cargo feature `kafka`, or say \
             memory://",
            origin.of("broker")
        );
        return Err(SettingsError::new("broker", sentence));
    }
    if !features.rocksdb && settings.store == Store::RocksDb {
        let origin = settings.origins["store"].of("store");
        let sentence = format!(
            "setting `store`: rocksdb ({origin}) is not in this build; build it with the cargo feature `rocksdb`, or say memory"
        );
        return Err(SettingsError::new("store", sentence));
    }
    Ok(())
}
