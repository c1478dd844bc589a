//! Which of several operators works: the one that holds a Lease.
//!
//! Taken and renewed by compare-and-swap (a PUT with the resourceVersion that was read). Whether another's has run out is judged by when
//! *we* last saw it change, never by comparing its clock with ours. Losing it ends the process: what was planned as leader is not carried
//! out as something else.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

/// How long a holder may stay silent.
const DURATION: Duration = Duration::from_secs(15);
/// A holder that could not renew for so long has lost it: before others may think so.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Between two renewals, and between two looks at another's.
const PERIOD: Duration = Duration::from_secs(2);
const NAME: &str = "faust-operator";

/// The Lease, for one candidate.
pub struct Lease {
    api: Api<Object>,
    identity: String,
}

/// What another holder's Lease looked like, and since when.
struct Seen {
    version: Option<String>,
    since: Instant,
}

impl Lease {
    /// `client` should not retry by itself: a late renewal is worth nothing.
    pub fn new(client: Client, namespace: &str, identity: String) -> Self {
        Self { api: Api::namespaced(client, namespace), identity }
    }

    /// Waits until the Lease is ours; returns it as written.
    pub async fn acquire(&self) -> Object {
        let mut seen: Option<Seen> = None;
        loop {
            match timeout(RENEW_DEADLINE, self.try_acquire(&mut seen)).await {
                Ok(Ok(Some(ours))) => return ours,
                Ok(Ok(None)) => {}
                Ok(Err(error)) => tracing::warn!("the lease {NAME} can't be read or taken: {error}"),
                Err(_) => tracing::warn!("the lease {NAME} can't be read or taken: no answer within {RENEW_DEADLINE:?}"),
            }
            sleep(PERIOD).await;
        }
    }

    /// Renews until it is lost; says why.
    pub async fn hold(&self, mut ours: Object) -> String {
        let mut renewed = now();
        loop {
            sleep(PERIOD).await;
            let left = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
            let sent = now();
            match timeout(left, self.put(&ours, self.spec(&ours))).await {
                Ok(Ok(written)) => (ours, renewed) = (written, sent),
                Ok(Err(kube::Error::Api(status))) if status.is_conflict() || status.is_not_found() => {
                    return format!("somebody else has written the lease {NAME}: {}", status.message);
                }
                Ok(Err(error)) => tracing::warn!("the lease {NAME} can't be renewed: {error}"),
                Err(_) => {}
            }
            if renewed.elapsed() >= RENEW_DEADLINE {
                return format!("the lease {NAME} could not be renewed for {RENEW_DEADLINE:?}");
            }
        }
    }

    /// Gives the Lease back, so that a successor need not wait for it to run out.
    pub async fn release(&self) {
        let release = async {
            let Some(lease) = self.api.get_opt(NAME).await? else { return Ok(()) };
            if holder(&lease) != Some(self.identity.as_str()) {
                return Ok(());
            }
            let free =
                LeaseSpec { holder_identity: None, lease_duration_seconds: Some(1), ..lease.spec.clone().unwrap_or_default() };
            self.put(&lease, free).await.map(drop)
        };
        match timeout(PERIOD, release).await {
            Ok(Ok(())) => tracing::info!("the lease {NAME} is given back"),
            Ok(Err(error)) => tracing::warn!("the lease {NAME} can't be given back: {error}"),
            Err(_) => tracing::warn!("the lease {NAME} can't be given back: no answer within {PERIOD:?}"),
        }
    }

    async fn try_acquire(&self, seen: &mut Option<Seen>) -> Result<Option<Object>, kube::Error> {
        let Some(lease) = self.api.get_opt(NAME).await? else {
            let metadata = ObjectMeta { name: Some(NAME.into()), ..ObjectMeta::default() };
            let new = Object { metadata, ..Object::default() };
            let new = Object { spec: Some(self.spec(&new)), ..new };
            return unless_beaten(self.api.create(&PostParams::default(), &new).await);
        };
        let free = holder(&lease).is_none_or(|holder| holder.is_empty() || holder == self.identity);
        if !free && !has_run_out(&lease, seen) {
            return Ok(None);
        }
        unless_beaten(self.put(&lease, self.spec(&lease)).await)
    }

    /// Replaces exactly the version that was read.
    async fn put(&self, read: &Object, spec: LeaseSpec) -> Result<Object, kube::Error> {
        let lease = Object { metadata: read.metadata.clone(), spec: Some(spec) };
        self.api.replace(NAME, &PostParams::default(), &lease).await
    }

    /// Ours, from now on.
    fn spec(&self, before: &Object) -> LeaseSpec {
        let before_spec = before.spec.clone().unwrap_or_default();
        let stays = holder(before) == Some(self.identity.as_str());
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(DURATION.as_secs() as i32),
            acquire_time: before_spec.acquire_time.filter(|_| stays).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(before_spec.lease_transitions.unwrap_or_default() + i32::from(!stays)),
            ..LeaseSpec::default()
        }
    }
}

fn holder(lease: &Object) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

/// Whether we have seen no change of it for as long as it lasts.
fn has_run_out(lease: &Object, seen: &mut Option<Seen>) -> bool {
    let version = lease.metadata.resource_version.clone();
    let lasts = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    match seen {
        Some(seen) if seen.version == version => seen.since.elapsed() >= Duration::from_secs(lasts.max(0) as u64),
        _ => {
            *seen = Some(Seen { version, since: now() });
            false
        }
    }
}

/// Another candidate was faster: that is no error.
fn unless_beaten(written: Result<Object, kube::Error>) -> Result<Option<Object>, kube::Error> {
    match written {
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(None),
        other => other.map(Some),
    }
}

#[expect(clippy::disallowed_methods, reason = "the operator has no simulated time")]
fn now() -> Instant {
    Instant::now()
}
