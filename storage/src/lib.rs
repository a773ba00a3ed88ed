//! weir's lake: sessions as plain Parquet in a Hive-partitioned folder tree.
