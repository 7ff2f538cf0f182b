/** The heading of a version as `{ heading, released }`, `released` being "Unreleased" or a date; or undefined. */
export function headingOf(changelog, version) {
  const headings = changelog.matchAll(/^## \[(?<named>[^\]]+)\] - (?<released>Unreleased|\d{4}-\d{2}-\d{2})$/gm)
  const found = [...headings].find(({ groups }) => groups.named === version)
  return found === undefined ? undefined : { heading: found[0], released: found.groups.released }
}

/** The changelog with "Unreleased" of a version turned into the date, and not a byte changed besides. */
export function dated(changelog, version, date) {
  const found = headingOf(changelog, version)
  if (found === undefined) throw new Error(`CHANGELOG.md has no heading "## [${version}] - Unreleased"`)
  if (found.released !== 'Unreleased')
    throw new Error(`CHANGELOG.md says that ${version} was released ${found.released}`)
  return changelog.replace(found.heading, `## [${version}] - ${date}`)
}
