//! The top pages, redrawn on a terminal, as plain lines elsewhere.

use std::fmt::Write;
use std::io::Write as _;
use std::net::SocketAddr;

const TOP: usize = 10;
const BAR: u64 = 40;

pub struct Screen {
    terminal: bool,
    web: SocketAddr,
    /// Views made so far.
    pub produced: u64,
    last: u64,
}

impl Screen {
    pub fn new(terminal: bool, web: SocketAddr) -> Self {
        Self { terminal, web, produced: 0, last: 0 }
    }

    /// Shows the counts; once a second.
    pub fn draw(&mut self, mut counts: Vec<(&str, u64)>) {
        counts.sort_by_key(|(page, count)| (std::cmp::Reverse(*count), *page));
        let total: u64 = counts.iter().map(|(_, count)| count).sum();
        let rate = total - self.last;
        self.last = total;
        let text = if self.terminal { self.page(&counts, total, rate) } else { line(&counts, total, rate) };
        let mut out = std::io::stdout().lock();
        // A screen that has gone away is no reason to stop counting.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn page(&self, counts: &[(&str, u64)], total: u64, rate: u64) -> String {
        let most = counts[0].1.max(1);
        let mut text = String::from("\x1b[2J\x1b[H");
        let _ = writeln!(text, "page views, counted by an agent into a table, all in this process\n");
        for (page, count) in counts.iter().take(TOP) {
            let _ = writeln!(text, "{page:18} {count:>10}  {}", "█".repeat((count * BAR / most) as usize));
        }
        let _ = writeln!(text, "\n{total} views, {rate} in the last second");
        let _ = writeln!(text, "http://{0}/tables/page_counts/%2Fshop   http://{0}/state   http://{0}/metrics", self.web);
        let _ = writeln!(text, "Ctrl-C ends it");
        text
    }

    /// Leaves the last picture as it is.
    pub fn close(&self) {
        if self.terminal {
            println!();
        }
    }
}

fn line(counts: &[(&str, u64)], total: u64, rate: u64) -> String {
    let top: Vec<String> = counts.iter().take(3).map(|(page, count)| format!("{page} {count}")).collect();
    format!("{total} views, {rate} in the last second; {}\n", top.join(", "))
}
