//! The fields of the shadow type, and what `Record::FIELDS` says about them.

use proc_macro2::{Group, Ident, TokenStream, TokenTree};
use quote::{format_ident, quote};
use syn::{Expr, ExprLit, Field, Fields, Lit, Type};

use crate::options;

/// A struct's or variant's fields, made ready for the shadow type.
pub struct ShadowFields {
    /// `{ a: A }`, `(A, B)` or nothing, with serde's attributes.
    pub body: TokenStream,
    /// The functions that `default = expr` names.
    pub defaults: Vec<TokenStream>,
    pub described: Vec<Described>,
}

/// A named field as `Record::FIELDS` lists it.
pub struct Described {
    pub name: String,
    pub required: bool,
}

/// `scope` makes the names of helper functions unique among the variants of an enum.
pub fn shadow(fields: &Fields, record: &Ident, scope: &Ident) -> syn::Result<ShadowFields> {
    let (mut shadows, mut defaults, mut described) = (Vec::new(), Vec::new(), Vec::new());
    for (index, field) in fields.iter().enumerate() {
        let options = options::of_field(&field.attrs)?;
        let mut attributes = options.serde;
        let ty = without_self(field, record);
        if let Some(value) = &options.default {
            let function = match &field.ident {
                Some(name) => format_ident!("default_{scope}_{name}"),
                None => format_ident!("default_{scope}_{index}"),
            };
            let path = function.to_string();
            attributes.push(quote!(#[serde(default = #path)]));
            let value = converted(value);
            defaults.push(quote!(#[allow(non_snake_case)] fn #function() -> #ty { #value }));
        }
        let name = field.ident.as_ref().map(|name| quote!(#name:));
        shadows.push(quote!(#(#attributes)* #name #ty));
        if let Some(name) = &field.ident {
            let name = name.to_string().trim_start_matches("r#").to_string();
            described.push(Described { name, required: !options.optional && !is_option(&field.ty) });
        }
    }
    let body = match fields {
        Fields::Named(_) => quote!({ #(#shadows),* }),
        Fields::Unnamed(_) => quote!((#(#shadows),*)),
        Fields::Unit => TokenStream::new(),
    };
    Ok(ShadowFields { body, defaults, described })
}

/// The only field of `struct Id(String)` or `struct Blob(Vec<u8>)`: such a record has the bytes of what it wraps, so that a newtype
/// can be the key of a topic that others write.
pub fn raw_newtype(fields: &Fields) -> Option<&Type> {
    let Fields::Unnamed(fields) = fields else { return None };
    let field = fields.unnamed.first().filter(|field| fields.unnamed.len() == 1 && field.attrs.is_empty())?;
    let ty = &field.ty;
    matches!(quote!(#ty).to_string().as_str(), "String" | "Vec < u8 >").then_some(ty)
}

/// A string literal becomes whatever the field is; numbers must not go through `Into`, or their type can't be inferred.
fn converted(value: &Expr) -> TokenStream {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => quote!(::core::convert::Into::into(#text)),
        other => quote!(#other),
    }
}

fn is_option(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Option"))
}

/// `Self` in a recursive record means the record, not its shadow.
fn without_self(field: &Field, record: &Ident) -> TokenStream {
    fn replace(tokens: TokenStream, record: &Ident) -> TokenStream {
        let each = |token| match token {
            TokenTree::Ident(ident) if ident == "Self" => TokenTree::Ident(Ident::new(&record.to_string(), ident.span())),
            TokenTree::Group(group) => TokenTree::Group(Group::new(group.delimiter(), replace(group.stream(), record))),
            other => other,
        };
        tokens.into_iter().map(each).collect()
    }
    let ty = &field.ty;
    replace(quote!(#ty), record)
}
