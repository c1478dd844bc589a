//! A short round of what `make chaos` does at length: every fault but one once, always in the same order.

use std::path::Path;
use std::time::Duration;

use faust_e2e::chaos::{Fault, Members, Report, Round, Setting, Site, play};

const SEED: u64 = 8;

#[test]
fn nothing_is_lost_by_faults_of_workers_and_brokers_on_kafka() {
    let setting = Setting { commit_interval: Duration::from_millis(100), standbys: 1, members: Members::Static };
    let site = Site::set().unwrap_or_else(|error| panic!("{error}"));
    let mut report = Report::default();
    // That takes as long as three others: a broker that hangs is only left after seconds.
    let faults: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| *fault != Fault::StopBroker).collect();
    report.add(play(&site, Path::new(env!("CARGO_BIN_EXE_e2e-chaos-worker")), &Round::of(SEED, setting, &faults)));
    eprintln!("{report}");
    assert_eq!(report.violations(), [""; 0]);
}
