//! What the macro refuses. What it accepts is compiled and run in `worker/tests/record.rs`.

use syn::{DeriveInput, parse_quote};

fn refused(input: DeriveInput) -> String {
    crate::expand::record(&input).expect_err("a mistake").to_string()
}

#[test]
fn a_record_is_no_generic_and_no_union() {
    let generic = refused(parse_quote! { struct Pair<T> { one: T } });
    assert_eq!(generic, "a record can't be generic: give each topic a type of its own");
    let union = refused(parse_quote! { union Either { one: u8, other: i8 } });
    assert_eq!(union, "a record is a struct or an enum, not a union");
}

#[test]
fn an_unknown_option_is_refused_with_those_there_are() {
    let of_type = refused(parse_quote! { #[record(isodates = true)] struct A { a: u8 } });
    assert_eq!(
        of_type,
        "unknown record option `isodates`; expected one of: namespace, validate, tag, rename_all, default, deny_unknown_fields"
    );
    let of_field = refused(parse_quote! { struct A { #[record(optional)] a: u8 } });
    assert_eq!(of_field, "unknown field option `optional`; expected one of: default, rename, alias, with, skip");
    let of_variant = refused(parse_quote! { enum A { #[record(skip)] B } });
    assert_eq!(of_variant, "unknown variant option `skip`; expected one of: rename, alias");
}

#[test]
fn an_option_in_the_wrong_form_is_refused_with_the_right_one() {
    let number = refused(parse_quote! { struct A { #[record(rename = 5)] a: u8 } });
    assert_eq!(number, "`rename` takes a string: `rename = \"..\"`");
    let default = refused(parse_quote! { #[serde(default)] struct A { a: u8 } });
    assert_eq!(default, "on the type write `#[record(default)]` instead");
}
