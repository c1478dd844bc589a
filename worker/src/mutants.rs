//! Mistakes that the engine can be made to make, one at a time, to see that the simulation finds each (`sim::mutants`).
//!
//! `mutant!("name")` stands where the mistake would be. Outside of tests it is the constant `false`.

macro_rules! mutant {
    ($name:literal) => {
        $crate::mutants::is_made($name)
    };
}

#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn is_made(_: &str) -> bool {
    false
}

#[cfg(test)]
thread_local! {
    static MADE: std::cell::Cell<Option<&'static str>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
pub(crate) fn is_made(name: &str) -> bool {
    MADE.get() == Some(name)
}

/// Makes a mistake on this thread from now on, or none.
#[cfg(all(test, feature = "kafka"))]
pub(crate) fn make(name: Option<&'static str>) {
    MADE.set(name);
}
