//! What stands in `#[record(..)]`: read, checked, and said again in serde's words.

use proc_macro2::TokenStream;
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Ident, LitStr, Meta, Path, Token};

/// Options of the type itself.
#[derive(Default)]
pub struct TypeOptions {
    pub namespace: Option<LitStr>,
    pub validate: Option<Path>,
    pub serde: Vec<TokenStream>,
    /// `default` on the type: missing fields come from its `Default`, so none is required.
    pub all_default: bool,
}

/// Options of one field.
#[derive(Default)]
pub struct FieldOptions {
    pub serde: Vec<TokenStream>,
    /// The value of `default = expr`.
    pub default: Option<Expr>,
    /// May be missing in the input.
    pub optional: bool,
}

const OF_TYPE: &str = "namespace, validate, tag, rename_all, default, deny_unknown_fields";
const OF_VARIANT: &str = "rename, alias";
const OF_FIELD: &str = "default, rename, alias, with, skip";

pub fn of_type(attributes: &[Attribute], record: &Ident) -> syn::Result<TypeOptions> {
    let mut options = TypeOptions { serde: serde_attributes(attributes), ..TypeOptions::default() };
    if let Some(default) = serde_metas(attributes).find(|meta| meta.path().is_ident("default")) {
        // Serde would ask the shadow type for it.
        return Err(syn::Error::new_spanned(default, "on the type write `#[record(default)]` instead"));
    }
    each_option(attributes, |name, meta| {
        match name {
            "default" => {
                let path = format!("{record}::default");
                options.serde.push(quote!(#[serde(default = #path)]));
                options.all_default = true;
            }
            "namespace" => options.namespace = Some(meta.value()?.parse()?),
            "validate" => options.validate = Some(meta.value()?.parse()?),
            "tag" | "rename_all" => options.serde.push(with_string(name, meta)?),
            "deny_unknown_fields" => options.serde.push(quote!(#[serde(deny_unknown_fields)])),
            _ => return Err(unknown("record", name, OF_TYPE, meta)),
        }
        Ok(())
    })?;
    Ok(options)
}

/// The serde attributes of one variant of an enum.
pub fn of_variant(attributes: &[Attribute]) -> syn::Result<Vec<TokenStream>> {
    let mut serde = serde_attributes(attributes);
    each_option(attributes, |name, meta| {
        match name {
            "rename" | "alias" => serde.push(with_string(name, meta)?),
            _ => return Err(unknown("variant", name, OF_VARIANT, meta)),
        }
        Ok(())
    })?;
    Ok(serde)
}

pub fn of_field(attributes: &[Attribute]) -> syn::Result<FieldOptions> {
    let mut options = FieldOptions { serde: serde_attributes(attributes), ..FieldOptions::default() };
    options.optional =
        serde_metas(attributes).any(|meta| ["default", "skip", "skip_deserializing"].iter().any(|word| meta.path().is_ident(word)));
    each_option(attributes, |name, meta| {
        match name {
            "default" if meta.input.peek(Token![=]) => {
                options.default = Some(meta.value()?.parse()?);
                options.optional = true;
            }
            "default" | "skip" => {
                let word = &meta.path;
                options.serde.push(quote!(#[serde(#word)]));
                options.optional = true;
            }
            "rename" | "alias" | "with" => options.serde.push(with_string(name, meta)?),
            _ => return Err(unknown("field", name, OF_FIELD, meta)),
        }
        Ok(())
    })?;
    Ok(options)
}

fn each_option(attributes: &[Attribute], mut take: impl FnMut(&str, &ParseNestedMeta<'_>) -> syn::Result<()>) -> syn::Result<()> {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("record")) {
        attribute.parse_nested_meta(|meta| take(&meta.path.require_ident()?.to_string(), &meta))?;
    }
    Ok(())
}

/// `rename = "x"` of ours is serde's `rename = "x"`.
fn with_string(name: &str, meta: &ParseNestedMeta<'_>) -> syn::Result<TokenStream> {
    let word = &meta.path;
    let Ok(value) = meta.value()?.parse::<LitStr>() else {
        return Err(meta.error(format!("`{name}` takes a string: `{name} = \"..\"`")));
    };
    Ok(quote!(#[serde(#word = #value)]))
}

fn unknown(kind: &str, name: &str, known: &str, meta: &ParseNestedMeta<'_>) -> syn::Error {
    meta.error(format!("unknown {kind} option `{name}`; expected one of: {known}"))
}

fn serde_attributes(attributes: &[Attribute]) -> Vec<TokenStream> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("serde")).map(|attribute| quote!(#attribute)).collect()
}

/// What stands in `#[serde(..)]`. What doesn't parse is left for serde to complain about.
fn serde_metas(attributes: &[Attribute]) -> impl Iterator<Item = Meta> {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("serde"))
        .filter_map(|attribute| attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok())
        .flatten()
}
