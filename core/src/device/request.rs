//! A device by name and number, and lists of them, as users give them.

use std::fmt;
use std::str::FromStr;

use super::{DeviceChoice, DeviceMemory};
use crate::error::{Error, Result};

/// A device that a user can request: `vulkan`, or `vulkan:1` for the second of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRequest {
    /// Its kind.
    pub choice: DeviceChoice,
    /// Its number among the devices of this kind, from 0, as [`super::list`] numbers them; `None` = the best.
    pub number: Option<usize>,
}

impl DeviceRequest {
    /// The requests of a list such as `vulkan:0,vulkan:1`, of at least one.
    ///
    /// # Errors
    /// [`Error::Device`] for a name that is not one of a device.
    pub fn list(text: &str) -> Result<Vec<Self>> {
        text.split(',').map(|name| name.trim().parse()).collect()
    }
}

impl From<DeviceChoice> for DeviceRequest {
    fn from(choice: DeviceChoice) -> Self {
        Self {
            choice,
            number: None,
        }
    }
}

impl FromStr for DeviceRequest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((name, number)) = text.split_once(':') else {
            return Ok(Self::from(text.parse::<DeviceChoice>()?));
        };
        let choice = name.parse()?;
        let Ok(number) = number.parse() else {
            return Err(Error::Device(format!(
                "no device is called \"{text}\": behind the colon stands a number from 0, as in {name}:1"
            )));
        };
        if choice == DeviceChoice::Cpu {
            return Err(Error::Device(format!(
                "no device is called \"{text}\": the CPU has no number; for several ranks on it give cpu,cpu"
            )));
        }
        Ok(Self {
            choice,
            number: Some(number),
        })
    }
}

impl fmt::Display for DeviceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) => write!(f, "{}:{number}", self.choice.name()),
            None => write!(f, "{}", self.choice.name()),
        }
    }
}

/// A device of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name by which it is requested.
    pub request: DeviceRequest,
    /// The name of the adapter; for the CPU `CPU`.
    pub name: String,
    /// What it is, such as `discrete GPU`.
    pub kind: &'static str,
    /// The limits of its memory, as far as they are known.
    pub memory: DeviceMemory,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written_back() {
        let text = "vulkan:0,vulkan:1,cpu,auto:2";
        let list = DeviceRequest::list(text).expect("known devices");
        let written: Vec<String> = list.iter().map(ToString::to_string).collect();
        assert_eq!(written.join(","), text);
        assert_eq!(list[1].number, Some(1));
        assert_eq!(
            DeviceRequest::list("cpu, cpu"),
            Ok(vec![DeviceChoice::Cpu.into(); 2])
        );
    }

    #[test]
    fn what_is_no_device_is_named() {
        for (text, says) in [
            ("cpu,gpu", "\"gpu\""),
            ("vulkan:x", "vulkan:1"),
            ("cpu:1", "cpu,cpu"),
            ("cpu,", "\"\""),
        ] {
            let error = DeviceRequest::list(text).expect_err(text).to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
