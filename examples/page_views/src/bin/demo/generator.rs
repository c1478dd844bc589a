//! Makes page views up: a few pages get most of them.

/// The pages of the site, the popular ones first.
pub const PAGES: [&str; 20] = [
    "/",
    "/shop",
    "/shop/cart",
    "/blog",
    "/about",
    "/shop/shoes",
    "/shop/hats",
    "/blog/rust",
    "/blog/kafka",
    "/jobs",
    "/press",
    "/help",
    "/help/returns",
    "/help/contact",
    "/shop/socks",
    "/blog/kubernetes",
    "/terms",
    "/privacy",
    "/team",
    "/404",
];

/// A generator that always makes the same views.
pub struct Generator(u64);

impl Generator {
    pub fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// A page, Zipf-like – the n-th is viewed 1/n as often as the first –, and who viewed it.
    pub fn view(&mut self) -> (&'static str, String) {
        let total: f64 = (1..=PAGES.len()).map(|rank| 1.0 / rank as f64).sum();
        let mut left = self.next() as f64 / u64::MAX as f64 * total;
        let mut page = PAGES[0];
        for (rank, name) in PAGES.iter().enumerate() {
            page = name;
            left -= 1.0 / (rank + 1) as f64;
            if left <= 0.0 {
                break;
            }
        }
        (page, format!("user-{}", self.next() % 1_000))
    }

    /// xorshift64*.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
