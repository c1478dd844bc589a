//! What librdkafka is told: limits by memory, and what a worker relies on whatever the user sets.

use std::time::Duration;

use faust_wire::Security;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What is fetched ahead of one partition at most: a fifth of a second's work of a shard, for more only takes memory – and time, for
/// what waits longer has left the processor's cache.
const MOST: usize = MIB;

/// The part of a worker's settings that concerns Kafka's data path.
#[derive(Clone, Debug)]
pub(crate) struct KafkaSettings {
    /// Bootstrap addresses, separated by commas.
    pub brokers: String,
    pub group_id: String,
    pub client_id: String,
    /// For all that is fetched and waits to be processed, in bytes.
    pub fetch_memory: usize,
    /// After which a record counts as not delivered.
    pub message_timeout: Duration,
    /// TLS and SASL, of our own client and of librdkafka.
    pub security: Security,
    /// Properties of librdkafka beyond ours and security's.
    pub extra: Vec<(String, String)>,
}

/// librdkafka bounds what waits per partition only, and counts payloads, of which a small record is a third.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FetchLimits {
    queued: usize,
    per_fetch: usize,
}

impl FetchLimits {
    /// A partition's share of `memory`.
    fn new(memory: usize, partitions: usize) -> Self {
        let queued = (memory / partitions.max(1) * 2 / 7).clamp(256 * KIB, MOST);
        Self { queued, per_fetch: queued / 4 }
    }

    /// What waits costs librdkafka memory per record too: how many of them come to what `queued` bytes of records of 100 bytes cost.
    fn records(self) -> usize {
        self.queued / 100
    }

    /// The last fetch begins below the limit.
    fn bound(self) -> usize {
        self.queued + self.per_fetch
    }
}

type Properties = Vec<(String, String)>;

impl KafkaSettings {
    /// How many bytes of payload wait to be taken from a source partition at most, when `partitions` share the memory.
    pub(super) fn bound(&self, partitions: usize) -> usize {
        FetchLimits::new(self.fetch_memory, partitions).bound()
    }

    /// `partitions` share the memory.
    pub(super) fn source(&self, partitions: usize) -> Properties {
        self.consumer(FetchLimits::new(self.fetch_memory, partitions), &[])
    }

    pub(super) fn changelog(&self, partitions: usize) -> Properties {
        let limits = FetchLimits::new(self.fetch_memory, partitions);
        self.consumer(limits, &[("isolation.level", "read_committed"), ("enable.partition.eof", "true")])
    }

    pub(super) fn producer(&self) -> Properties {
        let timeout = self.message_timeout.as_millis().to_string();
        let defaults = [
            ("linger.ms", "5"),
            ("batch.size", "1000000"),
            ("batch.num.messages", "100000"),
            ("queue.buffering.max.messages", "1000000"),
        ];
        let ours = [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("max.in.flight.requests.per.connection", "5"),
            // A lease is held against it: a record that is still under way when the lease ends would overwrite the next owner's.
            ("message.timeout.ms", timeout.as_str()),
        ];
        self.client(&defaults, &ours)
    }

    /// The largest record that the producer takes.
    pub(super) fn max_record(&self) -> usize {
        let set = self.extra.iter().rev().find(|(key, _)| key == "message.max.bytes");
        set.and_then(|(_, value)| value.parse().ok()).unwrap_or(1_000_000)
    }

    fn consumer(&self, limits: FetchLimits, more: &[(&str, &str)]) -> Properties {
        let (queued, per_fetch) = ((limits.queued / KIB).to_string(), limits.per_fetch.to_string());
        let records = limits.records().to_string();
        let defaults = [
            ("queued.max.messages.kbytes", queued.as_str()),
            // A maximum too, whatever its name: as long as so many wait, nothing is fetched.
            ("queued.min.messages", records.as_str()),
            ("fetch.message.max.bytes", per_fetch.as_str()),
            // How long a partition whose queue was full is left alone; the default of a second starves a fast reader.
            ("fetch.queue.backoff.ms", "5"),
            ("fetch.error.backoff.ms", "100"),
        ];
        let ours = [
            ("group.id", self.group_id.as_str()),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            // A position that isn't in the log is the engine's to judge.
            ("auto.offset.reset", "error"),
        ];
        self.client(&defaults, &[&ours, more].concat())
    }

    /// Later ones win: the user's over our defaults, what a worker relies on over the user's.
    fn client(&self, defaults: &[(&str, &str)], ours: &[(&str, &str)]) -> Properties {
        let common = [
            ("client.id", self.client_id.as_str()),
            ("reconnect.backoff.max.ms", "2000"),
            // A broker that hangs keeps its connections open: nobody looks for a partition's new leader before this. A minute by default.
            ("socket.timeout.ms", "10000"),
            // How long a topic that isn't there may just not be known to all brokers yet.
            ("topic.metadata.propagation.max.ms", "5000"),
        ];
        let always = [("bootstrap.servers", self.brokers.as_str()), ("allow.auto.create.topics", "false")];
        let owned = |properties: &[(&str, &str)]| -> Properties {
            properties.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
        };
        [owned(&common), owned(defaults), self.extra.clone(), owned(&always), owned(ours)].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_shared_by_the_partitions_within_bounds() {
        let limits = FetchLimits::new;
        assert_eq!(limits(256 * MIB, 100).queued, 256 * MIB / 100 * 2 / 7);
        assert_eq!(limits(256 * MIB, 100).per_fetch, limits(256 * MIB, 100).queued / 4);
        assert_eq!(limits(256 * MIB, 1).queued, MOST);
        assert_eq!(limits(256 * MIB, 0).queued, MOST);
        assert_eq!(limits(MIB, 1_000).queued, 256 * KIB);
    }

    #[test]
    fn a_user_may_change_defaults_but_not_what_a_worker_relies_on() {
        let settings = KafkaSettings {
            brokers: "localhost:9092".into(),
            group_id: "app".into(),
            client_id: "app-1".into(),
            fetch_memory: 256 * MIB,
            message_timeout: Duration::from_secs(15),
            security: Security::default(),
            extra: [("linger.ms", "50"), ("message.timeout.ms", "1"), ("acks", "0")].map(|(k, v)| (k.into(), v.into())).into(),
        };
        let producer: std::collections::BTreeMap<_, _> = settings.producer().into_iter().collect();
        assert_eq!(producer["linger.ms"], "50");
        assert_eq!(producer["message.timeout.ms"], "15000");
        assert_eq!(producer["acks"], "all");
        for properties in [settings.source(1), settings.changelog(1), settings.producer()] {
            let last = properties.iter().rev().find(|(key, _)| key == "allow.auto.create.topics");
            assert_eq!(last.map(|(_, value)| value.as_str()), Some("false"), "nobody creates a topic by asking for it");
        }
    }
}
