package dev.slmexport.demo.tokenizer

import org.json.JSONArray
import org.json.JSONObject

/** Says by its name what a tokenizer.json asks for and this package does not do. */
internal fun refuse(what: String, name: Any?): Nothing =
    throw IllegalArgumentException("this app's tokenizer knows no $what $name")

internal fun JSONObject.type(): String = getString("type")

internal fun JSONObject.textOrNull(name: String): String? = if (isNull(name)) null else getString(name)

internal fun JSONObject.numbers(): Map<String, Int> {
    val all = HashMap<String, Int>(2 * length())
    for (name in keys()) all[name] = getInt(name)
    return all
}

internal fun <T> JSONArray.items(read: JSONArray.(Int) -> T): List<T> = List(length()) { read(it) }

internal fun JSONArray.objects(): List<JSONObject> = items { getJSONObject(it) }

/** What `choices` makes of a part of the file, by its type. */
internal fun <T> choose(what: String, choices: Map<String, (JSONObject) -> T>, json: JSONObject): T =
    (choices[json.type()] ?: refuse(what, json.type()))(json)

/** A `pattern` field: {"String": literal} or {"Regex": expression}. */
internal fun JSONObject.pattern(): Regex {
    val pattern = getJSONObject("pattern")
    val regex = pattern.textOrNull("Regex")?.let(::translated) ?: Regex.fromLiteral(pattern.getString("String"))
    if (regex.containsMatchIn("")) refuse("pattern that matches nothing:", pattern)
    return regex
}
