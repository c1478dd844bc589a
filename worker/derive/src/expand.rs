//! From the type's declaration to the impls.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DataEnum, DataStruct, DeriveInput, Error, Fields, Ident, Result};

use crate::fields::{self, Described};
use crate::options;

/// The shadow type that serde derives for, and what was learnt on the way.
struct Shadow {
    declaration: TokenStream,
    defaults: Vec<TokenStream>,
    described: Vec<Described>,
}

pub fn record(input: &DeriveInput) -> Result<TokenStream> {
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(&input.generics, "a record can't be generic: give each topic a type of its own"));
    }
    let name = &input.ident;
    let remote = name.to_string();
    let shadow_name = format_ident!("{name}Shadow");
    let shadow = match &input.data {
        Data::Struct(data) => of_struct(data, name, &shadow_name)?,
        Data::Enum(data) => of_enum(data, name, &shadow_name)?,
        Data::Union(data) => return Err(Error::new_spanned(data.union_token, "a record is a struct or an enum, not a union")),
    };
    let options = options::of_type(&input.attrs, name)?;
    let serde_attributes = &options.serde;
    let namespace = match &options.namespace {
        Some(namespace) => quote!(#namespace),
        None => quote!(::core::concat!(::core::module_path!(), "::", #remote)),
    };
    let validate = options.validate.as_ref().map(|function| {
        quote! {
            fn validate(&self) -> ::core::result::Result<(), ::faust::Invalid> {
                #function(self)
            }
        }
    });
    let bytes = bytes_of_newtype(&input.data);
    let Shadow { declaration, defaults, described } = shadow;
    let listed = described.iter().map(|Described { name, required }| {
        let required = *required && !options.all_default;
        quote!(::faust::Field { name: #name, required: #required })
    });
    Ok(quote! {
        #[doc(hidden)]
        const _: () = {
            #[derive(::faust::__private::serde::Serialize, ::faust::__private::serde::Deserialize)]
            #[serde(crate = "::faust::__private::serde", remote = #remote)]
            #(#serde_attributes)*
            #[allow(dead_code)]
            #declaration

            #(#defaults)*

            #[automatically_derived]
            impl ::faust::__private::serde::Serialize for #name {
                fn serialize<S>(&self, serializer: S) -> ::core::result::Result<S::Ok, S::Error>
                where
                    S: ::faust::__private::serde::Serializer,
                {
                    #shadow_name::serialize(self, serializer)
                }
            }

            #[automatically_derived]
            impl<'de> ::faust::__private::serde::Deserialize<'de> for #name {
                fn deserialize<D>(deserializer: D) -> ::core::result::Result<Self, D::Error>
                where
                    D: ::faust::__private::serde::Deserializer<'de>,
                {
                    #shadow_name::deserialize(deserializer)
                }
            }

            #[automatically_derived]
            impl ::faust::Value for #name {
                fn type_name() -> ::std::borrow::Cow<'static, str> {
                    ::std::borrow::Cow::Borrowed(#namespace)
                }
                #validate
                #bytes
            }

            #[automatically_derived]
            impl ::faust::Record for #name {
                const NAMESPACE: &'static str = #namespace;
                const FIELDS: &'static [::faust::Field] = &[#(#listed),*];
            }
        };
    })
}

fn of_struct(data: &DataStruct, record: &Ident, shadow: &Ident) -> Result<Shadow> {
    let fields = fields::shadow(&data.fields, record, record)?;
    let body = &fields.body;
    let semicolon = (!matches!(data.fields, Fields::Named(_))).then(|| quote!(;));
    Ok(Shadow { declaration: quote!(struct #shadow #body #semicolon), defaults: fields.defaults, described: fields.described })
}

/// An enum has no fields of its own to list: which there are depends on the variant.
fn of_enum(data: &DataEnum, record: &Ident, shadow: &Ident) -> Result<Shadow> {
    let (mut variants, mut defaults) = (Vec::new(), Vec::new());
    for variant in &data.variants {
        let attributes = options::of_variant(&variant.attrs)?;
        let (name, fields) = (&variant.ident, fields::shadow(&variant.fields, record, &variant.ident)?);
        let body = &fields.body;
        variants.push(quote!(#(#attributes)* #name #body));
        defaults.extend(fields.defaults);
    }
    Ok(Shadow { declaration: quote!(enum #shadow { #(#variants),* }), defaults, described: Vec::new() })
}

fn bytes_of_newtype(data: &Data) -> Option<TokenStream> {
    let Data::Struct(data) = data else { return None };
    let inner = fields::raw_newtype(&data.fields)?;
    Some(quote! {
        fn encode(
            &self,
            out: &mut ::std::vec::Vec<u8>,
        ) -> ::core::result::Result<::faust::__private::Presence, ::faust::CodecError> {
            <#inner as ::faust::Value>::encode(&self.0, out)
        }
        fn decode(bytes: ::core::option::Option<&[u8]>) -> ::core::result::Result<Self, ::faust::CodecError> {
            <#inner as ::faust::Value>::decode(bytes).map(Self)
        }
    })
}
