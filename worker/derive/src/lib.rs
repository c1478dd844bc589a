//! `#[derive(Record)]`: makes a struct or enum a typed value of topics and tables.
//!
//! It implements serde's traits through a shadow type with `serde(remote)`, so that users need no serde of their own and
//! `#[serde(..)]` attributes still work, and `Value` and `Record` of the crate `faust`. The crate `faust` documents its options.

mod expand;
mod fields;
mod options;
#[cfg(test)]
mod tests;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a struct or enum a record.
///
/// On the type: `namespace`, `validate`, `tag`, `rename_all`, `default`, `deny_unknown_fields`. On a field: `default`, `default = expr`, `rename`,
/// `alias`, `with`, `skip`. On a variant: `rename`, `alias`. Attributes of serde are taken as they are.
#[proc_macro_derive(Record, attributes(record, serde))]
pub fn record(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand::record(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}
