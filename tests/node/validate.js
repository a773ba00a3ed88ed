// Reads an export with somebody else's program and prints one JSON line of what that program found in it.
//
//   validate.js har FILE
//   validate.js collection FILE [FOLDER OF THE PUBLISHED SCHEMA]
//   validate.js openapi FILE
//   validate.js yaml FOLDER
//
// What does not pass ends it with the program's own words and exit code 1.

'use strict';

const fs = require('fs');
const path = require('path');

const read = (file) => JSON.parse(fs.readFileSync(file, 'utf8'));

async function har(file) {
  const document = read(file);
  await require('har-validator').har(document);
  return { entries: document.log.entries.length, pages: document.log.pages.length };
}

// Some of the published files have comments.
const lenient = (file) => JSON.parse(fs.readFileSync(file, 'utf8').replace(/^\s*\/\/.*$/gm, ''));

function published(folder) {
  const Ajv = require('ajv');
  const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
  const definitions = {};
  for (const name of fs.readdirSync(path.join(folder, 'collection'))) {
    const schema = lenient(path.join(folder, 'collection', name));
    delete schema.$id;
    delete schema.$schema;
    definitions[path.basename(name, '.json')] = schema;
  }
  const root = lenient(path.join(folder, 'collection.json'));
  delete root.$id;
  root.definitions = { ...root.definitions, ...definitions };
  // The files refer to each other by their names.
  const local = (value) => {
    if (Array.isArray(value)) return value.map(local);
    if (value === null || typeof value !== 'object') return value;
    const copy = {};
    for (const [key, inner] of Object.entries(value)) {
      const name = key === '$ref' && typeof inner === 'string' && /([\w-]+)(\.json)?(#.*)?$/.exec(inner);
      copy[key] = name ? `#/definitions/${name[1]}` : local(inner);
    }
    return copy;
  };
  return ajv.compile(local(root));
}

function collection(file, schema) {
  const document = read(file);
  if (schema) {
    const validate = published(schema);
    if (!validate(document)) throw new Error(JSON.stringify(validate.errors.slice(0, 20), null, 1));
  }
  const { Collection } = require('postman-collection');
  const loaded = new Collection(document);
  const items = [];
  loaded.forEachItem((item) =>
    items.push({
      name: item.name,
      method: item.request.method,
      url: item.request.url.toString(),
      mode: item.request.body && item.request.body.mode,
      responses: item.responses.map((response) => response.code),
    })
  );
  return { items, folders: document.item.filter((item) => item.item).map((item) => item.name) };
}

async function openapi(file) {
  const document = await require('@apidevtools/swagger-parser').default.validate(file);
  const operations = Object.entries(document.paths).flatMap(([at, item]) =>
    Object.keys(item).filter((key) => item[key].responses).map((method) => `${method} ${at}`)
  );
  return { version: document.openapi, operations };
}

function yaml(folder) {
  const { parse } = require('yaml');
  const files = {};
  const walk = (dir) => {
    for (const entry of fs.readdirSync(dir, { withFileTypes: true })) {
      const file = path.join(dir, entry.name);
      if (entry.isDirectory()) walk(file);
      else files[path.relative(folder, file)] = parse(fs.readFileSync(file, 'utf8'));
    }
  };
  walk(folder);
  return files;
}

const [kind, ...files] = process.argv.slice(2);
Promise.resolve()
  .then(() => ({ har, collection, openapi, yaml })[kind](...files))
  .then((found) => console.log(JSON.stringify(found)))
  .catch((error) => {
    console.error(error.errors ? JSON.stringify(error.errors, null, 1) : error.message);
    process.exit(1);
  });
