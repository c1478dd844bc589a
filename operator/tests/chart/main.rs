//! The charts as Helm renders them. `FAUST_DEV_BLESS=1` writes the goldens anew, for the diff to be reviewed.

mod helm;
mod on_apiserver;

use std::{env, fs};

use serde_yaml::Value;

use helm::{CRDS, OPERATOR, charts, helm, text};

#[test]
fn the_charts_render_what_was_reviewed() {
    for case in ["defaults", "every-value"] {
        let golden = charts().join(format!("goldens/{case}.yaml"));
        let rendered = render(OPERATOR, &["--values", &format!("goldens/{case}.values.yaml")]);
        if env::var_os("FAUST_DEV_BLESS").is_some() {
            fs::write(&golden, &rendered).unwrap();
        }
        let wanted = fs::read_to_string(&golden).unwrap_or_default();
        assert!(
            wanted == rendered,
            "{} differs from what Helm renders now: {}",
            golden.display(),
            first_difference(&wanted, &rendered)
        );
    }
}

#[test]
fn the_definition_in_the_chart_is_the_one_of_the_types_and_outlives_the_release() {
    let manifest = fs::read_to_string(charts().join("../crds/manifests/faustapps.yaml")).unwrap();
    let mut wanted: Value = serde_yaml::from_str(&manifest).unwrap();
    wanted["metadata"]["annotations"]["helm.sh/resource-policy"] = "keep".into();

    let alone = render(CRDS, &[]);
    let rendered = serde_yaml::from_str(&alone).unwrap();
    assert!(
        by_value(rendered) == by_value(wanted),
        "{CRDS} renders another definition than crds/manifests/faustapps.yaml: {alone}"
    );
    let brought_along = render(OPERATOR, &["--values", "goldens/defaults.values.yaml", "--set", "crds.enabled=true"]);
    assert!(
        brought_along.contains(alone.split_once("apiVersion").unwrap().1.trim_end()),
        "crds.enabled renders the same definition"
    );
}

#[test]
fn the_charts_have_the_version_of_the_operator_that_they_install() {
    for chart in [OPERATOR, CRDS] {
        let chart: Value = serde_yaml::from_str(&fs::read_to_string(charts().join(chart).join("Chart.yaml")).unwrap()).unwrap();
        let brought_along = chart.get("dependencies").map(|dependencies| &dependencies[0]["version"]);
        for version in [&chart["version"], &chart["appVersion"]].into_iter().chain(brought_along) {
            assert_eq!(version, env!("CARGO_PKG_VERSION"), "{}", chart["name"].as_str().unwrap());
        }
    }
}

#[test]
fn helm_lint_finds_nothing() {
    for (chart, values) in [(OPERATOR, "goldens/every-value.values.yaml"), (CRDS, "/dev/null")] {
        let output = helm(&charts(), None, &["lint", "--strict", "--quiet", chart, "--values", values]);
        assert!(output.status.success(), "{chart}: {}{}", text(&output.stdout), text(&output.stderr));
    }
}

#[test]
fn a_wrong_value_is_refused_by_its_path() {
    for (value, message) in [
        ("replicas=two", "at '/replicas': got string, want integer"),
        ("replicas=0", "at '/replicas': minimum: got 0, want 1"),
        ("replica=3", "at '': additional properties 'replica' not allowed"),
        ("image.pullPolicy=Sometimes", "at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'"),
        ("resources.limit.memory=1Gi", "at '/resources': additional properties 'limit' not allowed"),
        ("image.repository=", "image.repository has no default: set it to where you pushed the operator's image"),
    ] {
        let output =
            helm(&charts(), None, &["template", "release", OPERATOR, "--values", "goldens/defaults.values.yaml", "--set", value]);
        let printed = text(&output.stderr);
        assert!(!output.status.success() && printed.contains(message), "--set {value}: {printed}");
    }
}

#[test]
fn the_readme_names_every_value_with_its_default() {
    let values: Value = serde_yaml::from_str(&fs::read_to_string(charts().join(OPERATOR).join("values.yaml")).unwrap()).unwrap();
    let readme = fs::read_to_string(charts().join(OPERATOR).join("README.md")).unwrap();
    let mut rows = Vec::new();
    leaves("", &values, &mut rows);
    for row in rows {
        assert!(readme.contains(&row), "{OPERATOR}/README.md has no row that begins with: {row}");
    }
}

/// Helm writes 1000.0 as 1000.
fn by_value(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::from(number.as_f64().unwrap()),
        Value::Sequence(items) => items.into_iter().map(by_value).collect(),
        Value::Mapping(entries) => Value::Mapping(entries.into_iter().map(|(name, value)| (name, by_value(value))).collect()),
        other => other,
    }
}

/// The beginnings of the table's rows: path and default of each value.
fn leaves(path: &str, value: &Value, rows: &mut Vec<String>) {
    match value {
        Value::Mapping(entries) if !entries.is_empty() => {
            for (name, value) in entries {
                let name = name.as_str().unwrap();
                leaves(&if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }, value, rows);
            }
        }
        Value::String(text) if !text.is_empty() => rows.push(format!("| `{path}` | `{text}` |")),
        _ => rows.push(format!("| `{path}` | `{}` |", serde_json::to_string(value).unwrap())),
    }
}

fn render(chart: &str, arguments: &[&str]) -> String {
    let output = helm(&charts(), None, &[&["template", "release", chart, "--namespace", "faust"], arguments].concat());
    assert!(output.status.success(), "helm template {chart}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn first_difference(wanted: &str, rendered: &str) -> String {
    let line = wanted.lines().zip(rendered.lines()).take_while(|(wanted, rendered)| wanted == rendered).count();
    let at = |text: &str| text.lines().nth(line).unwrap_or("(the end)").trim().to_string();
    format!("line {}, not `{}` but `{}`; review, then FAUST_DEV_BLESS=1", line + 1, at(wanted), at(rendered))
}
