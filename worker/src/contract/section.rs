//! A mapping of a YAML file, of which known keys are taken one by one: what is left over is unknown, and every refusal says where.

use serde_yaml::{Mapping, Value};

use crate::cli::{ExitReason, Refusal};

/// The file that sections are of.
pub(super) struct Source<'a> {
    /// Its path, for sentences.
    pub name: &'a str,
    pub text: &'a str,
}

impl Source<'_> {
    /// Where a key stands, for sentences: `` `a.b` in app.yaml, line 3 ``.
    pub fn place(&self, keys: &str) -> String {
        match self.line(keys) {
            Some(line) => format!("`{keys}` in {}, line {line}", self.name),
            None => format!("`{keys}` in {}", self.name),
        }
    }

    /// What is wrong with a key, and what to do about it.
    pub fn refuse(&self, keys: &str, what: &str) -> Refusal {
        Refusal::new(ExitReason::SettingRefused, format!("{} {what}", self.place(keys))).about(keys)
    }

    /// The parser keeps no places, so each key is looked for behind the one it is in; items of lists are not told apart.
    fn line(&self, keys: &str) -> Option<usize> {
        let mut at = 0;
        for key in keys.split('.') {
            let (key, is_item) = key.split_once('[').map_or((key, false), |(key, _)| (key, true));
            at += position_of_key(&self.text[at..], key)?;
            if is_item {
                break;
            }
        }
        Some(self.text[..at].matches('\n').count() + 1)
    }
}

fn position_of_key(text: &str, key: &str) -> Option<usize> {
    let begins = |before: &str| before.is_empty() || before.ends_with(|c: char| c.is_whitespace() || "{,\"'".contains(c));
    let ends = |after: &str| after.trim_start_matches(['"', '\'']).trim_start_matches(' ').starts_with(':');
    text.match_indices(key).map(|(at, _)| at).find(|at| begins(&text[..*at]) && ends(&text[at + key.len()..]))
}

/// One mapping.
pub(super) struct Section<'a> {
    source: &'a Source<'a>,
    path: String,
    rest: Mapping,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub fn root(source: &'a Source<'a>) -> Result<Self, Refusal> {
        let value = serde_yaml::from_str(source.text).map_err(|error| {
            let sentence = format!("{} is not YAML: {error}; mend the file", source.name);
            Refusal::new(ExitReason::SettingRefused, sentence).about("config")
        })?;
        match value {
            Value::Mapping(rest) => Ok(Self { source, path: String::new(), rest }),
            Value::Null => Ok(Self { source, path: String::new(), rest: Mapping::new() }),
            _ => {
                let sentence = format!("{} is not understood; expected keys with values such as `app: {{id: …}}`", source.name);
                Err(Refusal::new(ExitReason::SettingRefused, sentence).about("config"))
            }
        }
    }

    /// The dotted path of a key in here.
    pub fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.path) }
    }

    /// A mapping; an empty one if it is missing.
    pub fn section(&mut self, key: &str) -> Result<Section<'a>, Refusal> {
        let rest = match self.rest.remove(key) {
            None | Some(Value::Null) => Mapping::new(),
            Some(Value::Mapping(rest)) => rest,
            Some(_) => return Err(self.not_understood(key, "keys with values")),
        };
        Ok(Section { source: self.source, path: self.path(key), rest })
    }

    /// A list of mappings; an empty one if it is missing.
    pub fn list(&mut self, key: &str) -> Result<Vec<Section<'a>>, Refusal> {
        let items = match self.rest.remove(key) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Sequence(items)) => items,
            Some(_) => return Err(self.not_understood(key, "a list")),
        };
        let item = |(index, item)| match item {
            Value::Mapping(rest) => Ok(Section { source: self.source, path: format!("{}[{index}]", self.path(key)), rest }),
            _ => Err(self.not_understood(key, "a list of keys with values such as `{name: …}`")),
        };
        items.into_iter().enumerate().map(item).collect()
    }

    /// A list of words; an empty one if it is missing.
    pub fn words(&mut self, key: &str) -> Result<Vec<String>, Refusal> {
        match self.rest.remove(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Sequence(items)) => {
                items.iter().map(|item| scalar(item).ok_or_else(|| self.not_understood(key, "a list of words"))).collect()
            }
            Some(_) => Err(self.not_understood(key, "a list of words")),
        }
    }

    /// A text, also one that YAML takes for a number or a truth value.
    pub fn text(&mut self, key: &str) -> Result<Option<String>, Refusal> {
        let value = self.value(key);
        value.map(|value| scalar(&value).ok_or_else(|| self.not_understood(key, "one value"))).transpose()
    }

    pub fn required_text(&mut self, key: &str) -> Result<String, Refusal> {
        self.text(key)?.ok_or_else(|| self.refuse(key, "is missing"))
    }

    pub fn number(&mut self, key: &str) -> Result<Option<u64>, Refusal> {
        let value = self.value(key);
        value.map(|value| value.as_u64().ok_or_else(|| self.not_understood(key, "a whole number"))).transpose()
    }

    /// One that is null counts as missing.
    fn value(&mut self, key: &str) -> Option<Value> {
        self.rest.remove(key).filter(|value| !value.is_null())
    }

    /// All that is left, as texts; a key that isn't a text is refused, and so is one without a value.
    pub fn texts(&mut self) -> Result<Vec<(String, String)>, Refusal> {
        let rest = std::mem::take(&mut self.rest);
        let text = |(key, value): (Value, Value)| match key {
            Value::String(key) => {
                scalar(&value).map(|text| (key.clone(), text)).ok_or_else(|| self.not_understood(&key, "one value"))
            }
            other => {
                let key = scalar(&other).unwrap_or_else(|| "?".into());
                Err(self.refuse(&key, "has a key that is no text; write a name, in quotes if it looks like something else"))
            }
        };
        rest.into_iter().map(text).collect()
    }

    /// The dotted paths of what nobody took.
    pub fn unknown(self) -> Vec<String> {
        self.rest.keys().map(|key| self.path(&scalar(key).unwrap_or_else(|| "?".into()))).collect()
    }

    pub fn place(&self, key: &str) -> String {
        self.source.place(&self.path(key))
    }

    pub fn refuse(&self, key: &str, what: &str) -> Refusal {
        self.source.refuse(&self.path(key), what)
    }

    fn not_understood(&self, key: &str, expected: &str) -> Refusal {
        self.refuse(key, &format!("is not understood; expected {expected}"))
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}
