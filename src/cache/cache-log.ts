/** What the cache logs to; pino's loggers fit. */
export interface CacheLog {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}
