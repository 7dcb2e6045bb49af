-- Of a key's secret only the hash is here. scopes and streams are lists with commas between, no streams means all;
-- times are milliseconds since the epoch.
CREATE TABLE IF NOT EXISTS api_keys (
  id CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  sha256 CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  name VARCHAR(100) NOT NULL,
  scopes VARCHAR(100) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  streams VARCHAR(4000) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  rate_limit VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NULL,
  created_at BIGINT UNSIGNED NOT NULL,
  expires_at BIGINT UNSIGNED NULL,
  revoked_at BIGINT UNSIGNED NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
