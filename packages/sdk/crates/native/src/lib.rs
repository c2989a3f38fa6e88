//! plait-sdk-native.
