//! The tables of codes and limits: numbers and names are unique, and rules that they cite exist.

use std::collections::BTreeSet;

use duplex_spec::{Code, LIMITS, limit, registry};

#[test]
fn codes_are_unique_and_cite_rules_of_the_book() {
    let numbers: BTreeSet<_> = Code::ALL.iter().map(|info| info.code).collect();
    let names: BTreeSet<_> = Code::ALL.iter().map(|info| info.name).collect();
    assert_eq!((numbers.len(), names.len()), (Code::ALL.len(), Code::ALL.len()));
    for info in Code::ALL {
        assert!(info.code.is_reserved(), "{}", info.code);
        assert!(registry().rule(info.rule).is_some(), "{}: no chapter has the rule {}", info.code, info.rule);
        assert!(info.sentence.ends_with('.'), "{}: {}", info.code, info.sentence);
    }
}

#[test]
fn a_rule_that_names_a_code_names_one_of_the_table() {
    for rule in registry().iter() {
        for word in rule.text.split(|c: char| c != '-' && !c.is_ascii_digit()) {
            let Ok(number) = word.parse::<i64>() else { continue };
            let assigned = Code(number).info().is_some();
            let bound = [Code::RESERVED_FIRST, Code::RESERVED_LAST, Code(-32700)].contains(&Code(number));
            assert!(!Code(number).is_reserved() || assigned || bound, "{}: {number} is not in the table", rule.id);
        }
    }
}

#[test]
fn a_code_shows_its_number_and_name() {
    assert_eq!(Code::METHOD_NOT_FOUND.to_string(), "-32601 (method-not-found)");
    assert_eq!(Code(7).to_string(), "7");
    assert_eq!(serde_json::to_string(&Code::FAILED).expect("a number"), "-32603");
}

#[test]
fn limits_are_unique_and_cite_rules_of_the_book() {
    let names: BTreeSet<_> = LIMITS.iter().map(|limit| limit.name).collect();
    assert_eq!(names.len(), LIMITS.len());
    for entry in LIMITS {
        assert_eq!(limit(entry.name), Some(entry));
        assert!(entry.default >= entry.minimum, "{}", entry.name);
        assert!(!entry.rules.is_empty(), "{}: no rule", entry.name);
        for rule in entry.rules {
            assert!(registry().rule(rule).is_some(), "{}: no chapter has the rule {rule}", entry.name);
        }
    }
    assert_eq!(limit("no_such_limit"), None);
}
