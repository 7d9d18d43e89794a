package dev.slmexport.demo.model

import org.json.JSONArray
import org.json.JSONObject

fun <T> JSONArray.items(read: JSONArray.(Int) -> T): List<T> = List(length()) { read(it) }

fun JSONArray.objects(): List<JSONObject> = items { getJSONObject(it) }

fun JSONArray.strings(): List<String> = items { getString(it) }

fun JSONArray.ints(): IntArray = IntArray(length()) { getInt(it) }

fun JSONObject.text(name: String): String? = if (isNull(name)) null else getString(name)

fun JSONObject.array(name: String): JSONArray? = if (isNull(name)) null else getJSONArray(name)

fun JSONObject.int(name: String): Int? = if (isNull(name)) null else getInt(name)

fun JSONObject.long(name: String): Long? = if (isNull(name)) null else getLong(name)

fun JSONObject.double(name: String): Double? = if (isNull(name)) null else getDouble(name)
