//! `#[derive(Record)]` as a user's crate has it: defaults, options, renames, validation, tagged enums, newtypes, recursion.

use faust::{Invalid, Record, Timestamp, Value};

#[derive(Record, Debug, PartialEq)]
#[record(namespace = "shop.Order", validate = Order::check, rename_all = "camelCase")]
struct Order {
    id: u64,
    amount_cents: i64,
    #[record(default = "EUR")]
    currency: String,
    #[record(default = 3)]
    priority: u8,
    #[record(default)]
    tags: Vec<String>,
    note: Option<String>,
    #[record(rename = "createdMs", alias = "created")]
    created: Timestamp,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    parts: Vec<Self>,
    #[record(skip)]
    seen: bool,
}

impl Order {
    fn check(&self) -> Result<(), Invalid> {
        if self.amount_cents > 0 { Ok(()) } else { Err(Invalid::new("the amount must be positive")) }
    }
}

#[derive(Record, Debug, PartialEq)]
#[record(tag = "type", rename_all = "snake_case")]
enum Command {
    Deposit {
        cents: i64,
        #[record(default = "EUR")]
        currency: String,
    },
    #[record(rename = "end", alias = "stop")]
    CloseAccount,
}

#[derive(Record, Clone, PartialEq, Eq, Hash, Debug)]
struct Id(u64);

#[derive(Record, Debug, PartialEq)]
struct Nothing;

#[derive(Record, Debug, PartialEq, Default)]
#[record(default)]
#[serde(deny_unknown_fields)]
struct Strict {
    r#type: String,
    size: u64,
}

#[test]
fn a_record_fills_its_defaults_and_round_trips() {
    let text = r#"{"id":1,"amountCents":5,"createdMs":7,"parts":[{"id":2,"amountCents":0,"created":8}]}"#;
    let order: Order = serde_json::from_str(text).unwrap();
    assert_eq!((order.currency.as_str(), order.priority, order.note.as_deref()), ("EUR", 3, None));
    assert_eq!((order.created, order.parts[0].created, order.seen), (Timestamp(7), Timestamp(8), false));
    let json = serde_json::to_string(&order).unwrap();
    assert_eq!(serde_json::from_str::<Order>(&json).unwrap(), order);
    assert!(json.contains(r#""createdMs":7"#) && !json.contains("seen"));
}

#[test]
fn validation_is_the_records_own_function() {
    let order = |cents| -> Order { serde_json::from_str(&format!(r#"{{"id":1,"amountCents":{cents},"createdMs":7}}"#)).unwrap() };
    assert_eq!(order(1).validate(), Ok(()));
    assert_eq!(order(0).validate(), Err(Invalid::new("the amount must be positive")));
    assert_eq!(Id(0).validate(), Ok(()));
}

#[test]
fn a_record_tells_its_name_and_which_fields_must_be_there() {
    assert_eq!((Order::NAMESPACE, Id::NAMESPACE), ("shop.Order", "record::Id"));
    assert_eq!(Vec::<Order>::type_name(), "Vec<shop.Order>");
    let required: Vec<_> = Order::FIELDS.iter().filter(|field| field.required).map(|field| field.name).collect();
    assert_eq!(required, ["id", "amount_cents", "created"]);
    assert_eq!(Order::FIELDS.len(), 9);
    let strict: Vec<_> = Strict::FIELDS.iter().map(|field| (field.name, field.required)).collect();
    assert_eq!(strict, [("type", false), ("size", false)]);
    assert!(Command::FIELDS.is_empty() && Id::FIELDS.is_empty() && Nothing::FIELDS.is_empty());
    let missing = serde_json::from_str::<Order>("{}").unwrap_err().to_string();
    assert!(missing.starts_with("missing field `id`"), "{missing}");
}

#[test]
fn an_enum_is_tagged_and_its_variants_take_options_too() {
    let deposit = Command::Deposit { cents: 3, currency: "EUR".into() };
    assert_eq!(serde_json::to_string(&deposit).unwrap(), r#"{"type":"deposit","cents":3,"currency":"EUR"}"#);
    assert_eq!(serde_json::from_str::<Command>(r#"{"type":"deposit","cents":3}"#).unwrap(), deposit);
    assert_eq!(serde_json::to_string(&Command::CloseAccount).unwrap(), r#"{"type":"end"}"#);
    assert_eq!(serde_json::from_str::<Command>(r#"{"type":"stop"}"#).unwrap(), Command::CloseAccount);
}

#[test]
fn a_newtype_is_what_it_wraps_and_a_unit_is_null() {
    assert_eq!(serde_json::to_string(&Id(4)).unwrap(), "4");
    assert_eq!(serde_json::to_string(&Nothing).unwrap(), "null");
}

#[test]
fn serde_attributes_on_the_type_are_heeded() {
    assert_eq!(serde_json::from_str::<Strict>("{}").unwrap(), Strict::default());
    let unknown = serde_json::from_str::<Strict>(r#"{"sise":1}"#).unwrap_err().to_string();
    assert!(unknown.starts_with("unknown field `sise`"), "{unknown}");
}
